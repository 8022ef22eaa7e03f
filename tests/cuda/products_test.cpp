// Matrix products where the cases of the operations do not reach: in other precisions, and of more rows than
// one launch takes. Runs on a GPU and on the executor of tests/simt/ alike.

#include "kernels/grouped_linear/grouped_linear.h"
#include "kernels/linear/linear.h"
#include "kernels/router_logits/router_logits.h"
#include "tests/cuda/device_test.h"

namespace moe::test {
namespace {

namespace cpu = kernels::cpu;
namespace cuda = kernels::cuda;

}  // namespace

TEST_CASE("products on tensor cores are those of the rounded operands", "[cuda][grouped_linear]") {
  // The operands have few bits, so that both precisions hold them exactly and only the order of the sums
  // differs.
  for (const Precision precision : {Precision::tf32, Precision::bf16})
    for (const auto epilogue : {kernels::Epilogue::none, kernels::Epilogue::relu})
      for (const auto& [rows, in, out] : {std::tuple{7, 5, 3}, {64, 64, 64}, {150, 40, 70}, {200, 33, 129}}) {
        INFO(rows << " rows, " << in << " to " << out << ", epilogue " << static_cast<int>(epilogue)
                  << ", precision " << static_cast<int>(precision));
        const kernels::GroupedLinearShape s{
            .rows = rows, .in = in, .out = out, .experts = 3, .epilogue = epilogue};
        // An expert without a row, and rows that belong to nobody.
        const std::vector<int32_t> offsets = {0, rows / 3, rows / 3, rows - 2};
        const auto x = coarse(normals(s.rows * in, 1)), weight = coarse(normals(3 * s.out * in, 2)),
                   bias = normals(3 * s.out, 3), dy = coarse(normals(s.rows * out, 4));
        std::vector<float> y(dy.size()), dh(dy.size()), dx = x, dweight = weight, dbias = bias;
        const Tensor goffsets = on_gpu(offsets), gx = on_gpu(x), gweight = on_gpu(weight),
                     gbias = on_gpu(bias), gdy = on_gpu(dy), gy = unwritten<float>(s.rows * out),
                     gdx = on_gpu(x), gdweight = on_gpu(weight), gdbias = on_gpu(bias);
        const kernels::GroupedRows where{.offsets = offsets.data()},
            gwhere{.offsets = goffsets.data<int32_t>()};
        cpu::grouped_linear_forward<float>(s, where, x.data(), weight.data(), bias.data(), nullptr, nullptr,
                                           y.data());
        cpu::grouped_linear_backward<float>(
            s, where, {x.data(), weight.data(), y.data(), dy.data(), dx.data(), dweight.data(), dbias.data()},
            nullptr, dh.data(), nullptr, nullptr);
        const InPrecision computing(precision);
        cuda::grouped_linear_forward(s, gwhere, gx.data<float>(), gweight.data<float>(), gbias.data<float>(),
                                     nullptr, nullptr, gy.data<float>(), current_stream());
        cuda::grouped_linear_backward(
            s, gwhere,
            {gx.data<float>(), gweight.data<float>(), gy.data<float>(), gdy.data<float>(), gdx.data<float>(),
             gdweight.data<float>(), gdbias.data<float>()},
            nullptr, nullptr, nullptr, nullptr, current_stream());
        CHECK(relative_difference(values_of<float>(gy), y) < kClose);
        CHECK(relative_difference(values_of<float>(gdx), dx) < kClose);
        CHECK(relative_difference(values_of<float>(gdweight), dweight) < kClose);
        CHECK(relative_difference(values_of<float>(gdbias), dbias) < kClose);
      }
}

TEST_CASE("dense products of more rows than one launch takes are the CPU's", "[cuda][linear]") {
  for (const auto& [rows, in, out] : {std::tuple{1025, 5, 7}, {1024, 5, 7}}) {
    const kernels::LinearShape s{.rows = rows, .in = in, .out = out};
    const auto x = normals(s.rows * in, 1), weight = normals(s.out * in, 2), bias = normals(out, 3),
               dy = normals(s.rows * out, 4);
    std::vector<float> y(dy.size()), dx = x, dweight = weight, dbias = bias;
    const Tensor gx = on_gpu(x), gweight = on_gpu(weight), gbias = on_gpu(bias), gdy = on_gpu(dy),
                 gy = unwritten<float>(s.rows * out), gdx = on_gpu(x), gdweight = on_gpu(weight),
                 gdbias = on_gpu(bias);
    cpu::linear_forward<float>(s, x.data(), weight.data(), bias.data(), y.data());
    cpu::linear_backward<float>(s, x.data(), weight.data(), dy.data(), dx.data(), dweight.data(),
                                dbias.data(), nullptr);
    cuda::linear_forward(s, gx.data<float>(), gweight.data<float>(), gbias.data<float>(), gy.data<float>(),
                         current_stream());
    cuda::linear_backward(s, gx.data<float>(), gweight.data<float>(), gdy.data<float>(), gdx.data<float>(),
                          gdweight.data<float>(), gdbias.data<float>(), nullptr, current_stream());
    CHECK(relative_difference(values_of<float>(gy), y) < kClose);
    CHECK(relative_difference(values_of<float>(gdx), dx) < kClose);
    CHECK(relative_difference(values_of<float>(gdweight), dweight) < kClose);
    CHECK(relative_difference(values_of<float>(gdbias), dbias) < kClose);
  }
}

TEST_CASE("a router's gradients over more tokens than a block takes are the CPU's", "[cuda][router_logits]") {
  const kernels::RouterLogitsShape s{.tokens = 4100, .dim = 6, .experts = 5, .count = 2};
  const int64_t weights = s.experts * s.dim;
  const auto x = normals(s.tokens * s.dim, 1);
  std::vector<float> dx = x;
  const Tensor gx = on_gpu(x), gdx = on_gpu(x);
  std::vector<float> weight[2], bias[2], dlogits[2];
  Tensor gweight[2], gbias[2], gdlogits[2];
  for (uint32_t i = 0; i < 2; ++i) {
    gweight[i] = on_gpu(weight[i] = normals(weights, 2 + i));
    gbias[i] = on_gpu(bias[i] = normals(s.experts, 4 + i));
    gdlogits[i] = on_gpu(dlogits[i] = normals(s.tokens * s.experts, 6 + i));
  }
  const std::vector<float> w[2] = {weight[0], weight[1]};  // the gradients begin as the weights
  cpu::router_logits_backward<float>(s, x.data(), {{w[0].data(), w[1].data()}, {}},
                                     {{dlogits[0].data(), dlogits[1].data()},
                                      dx.data(),
                                      {weight[0].data(), weight[1].data()},
                                      {bias[0].data(), bias[1].data()}});
  const Tensor gw[2] = {on_gpu(w[0]), on_gpu(w[1])};
  cuda::router_logits_backward(s, gx.data<float>(), {{gw[0].data<float>(), gw[1].data<float>()}, {}},
                               {{gdlogits[0].data<float>(), gdlogits[1].data<float>()},
                                gdx.data<float>(),
                                {gweight[0].data<float>(), gweight[1].data<float>()},
                                {gbias[0].data<float>(), gbias[1].data<float>()}},
                               current_stream());
  CHECK(relative_difference(values_of<float>(gdx), dx) < kClose);
  for (int i = 0; i < 2; ++i) {
    CHECK(relative_difference(values_of<float>(gweight[i]), weight[i]) < kClose);
    CHECK(relative_difference(values_of<float>(gbias[i]), bias[i]) < kClose);
  }
}

}  // namespace moe::test
