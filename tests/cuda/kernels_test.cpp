// What the cases of the operations do not reach: operations without a gradient, sizes at which a kernel works
// in another way, and what a kernel does with ids that it cannot report. Runs on a GPU and on the executor of
// tests/simt/ alike.

#include "autograd/ops.h"
#include "core/error.h"
#include "kernels/add_bias/add_bias.h"
#include "kernels/add_layer_norm/add_layer_norm.h"
#include "kernels/attention/attention.h"
#include "kernels/balance_loss/balance_loss.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/dispatch_plan/dispatch_plan.h"
#include "kernels/embedding/embedding.h"
#include "kernels/gating/gating.h"
#include "kernels/importance_loss/importance_loss.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/load_loss/load_loss.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/z_loss/z_loss.h"
#include "tests/cuda/device_test.h"

namespace moe::test {
namespace {

namespace cpu = kernels::cpu;
namespace cuda = kernels::cuda;

struct PlanValues {
  std::vector<int32_t> offsets, assignment, row, count;
  bool operator==(const PlanValues&) const = default;
};

PlanValues plan_on_gpu(const kernels::DispatchShape& s, const std::vector<int32_t>& expert) {
  const int64_t R = s.tokens * s.topk;
  const Tensor offsets = unwritten<int32_t>(s.experts + 1), assignment = unwritten<int32_t>(R),
               row = unwritten<int32_t>(R), count = unwritten<int32_t>(s.experts);
  cuda::dispatch_plan(s, on_gpu(expert).data<int32_t>(), offsets.data<int32_t>(), assignment.data<int32_t>(),
                      row.data<int32_t>(), count.data<int32_t>(), current_stream());
  return {values_of<int32_t>(offsets), values_of<int32_t>(assignment), values_of<int32_t>(row),
          values_of<int32_t>(count)};
}

PlanValues plan_on_cpu(const kernels::DispatchShape& s, const std::vector<int32_t>& expert) {
  PlanValues p;
  p.offsets.resize(static_cast<size_t>(s.experts + 1));
  p.count.resize(static_cast<size_t>(s.experts));
  p.assignment.resize(expert.size());
  p.row.resize(expert.size());
  cpu::dispatch_plan(s, expert.data(), p.offsets.data(), p.assignment.data(), p.row.data(), p.count.data());
  return p;
}

// A pointwise operation that no .cu file knows.
struct Square {
  static constexpr const char* name = "square";
};

}  // namespace

TEST_CASE("the GPU plans the same dispatch as the CPU, bit for bit", "[cuda][dispatch_plan]") {
  // 8192 assignments are planned by one block, more by several.
  for (const auto& [tokens, topk, experts] : {std::tuple{0, 2, 4},
                                              {1, 1, 1},
                                              {5, 3, 3},
                                              {33, 2, 8},
                                              {700, 2, 70},
                                              {4096, 2, 8},
                                              {4097, 2, 8},
                                              {9000, 3, 40}})
    for (const int64_t capacity : {-1, 0, 1, 100}) {
      const kernels::DispatchShape s{tokens, topk, experts, capacity};
      for (const bool one_expert : {false, true}) {
        auto expert = below(experts, s.tokens * s.topk, 1);
        if (one_expert) std::fill(expert.begin(), expert.end(), experts - 1);
        INFO(tokens << " tokens, " << topk << " of " << experts << ", capacity " << capacity);
        CHECK(plan_on_gpu(s, expert) == plan_on_cpu(s, expert));
      }
    }
}

TEST_CASE("an expert that does not exist is dropped from the plan", "[cuda][dispatch_plan]") {
  const PlanValues p = plan_on_gpu({3, 2, 2, -1}, {0, 1, -1, 1, 2, 0});
  CHECK(p.count == std::vector<int32_t>{2, 2});
  CHECK(p.offsets == std::vector<int32_t>{0, 2, 4});
  CHECK(p.row == std::vector<int32_t>{0, 2, -1, 3, -1, 1});
  CHECK(p.assignment == std::vector<int32_t>{0, 5, 1, 3, -1, -1});
}

TEST_CASE("of equal logits the GPU chooses the lower expert first, as the CPU does", "[cuda][gating]") {
  for (const auto& [experts, topk] : {std::pair{6, 2}, {6, 6}, {40, 5}}) {
    const kernels::GatingShape s{50, experts, topk};
    // Three different values, so that most choices are between equals.
    std::vector<float> logits;
    for (const int32_t v : below(3, s.tokens * experts, 6)) logits.push_back(static_cast<float>(v));
    const int64_t R = s.tokens * topk;
    std::vector<float> gate(static_cast<size_t>(R));
    std::vector<int32_t> expert(gate.size());
    const Tensor ggate = unwritten<float>(R), gexpert = unwritten<int32_t>(R);
    cpu::gating_forward<float>(s, logits.data(), {}, gate.data(), expert.data(), nullptr);
    cuda::gating_forward(s, on_gpu(logits).data<float>(), {}, ggate.data<float>(), gexpert.data<int32_t>(),
                         nullptr, current_stream());
    INFO(topk << " of " << experts);
    CHECK(values_of<int32_t>(gexpert) == expert);
    CHECK(relative_difference(values_of<float>(ggate), gate) < kClose);
  }
}

TEST_CASE("the z-loss of logits that four do not divide is the CPU's", "[cuda][z_loss]") {
  // In allocations of their own: reading behind the end of one is found.
  constexpr int64_t kTokens = 7, kExperts = 3;
  const auto logits = normals(kTokens * kExperts, 1);
  const std::vector<float> dloss{0.5f};
  std::vector<float> loss(1), lse(kTokens), dlogits = normals(kTokens * kExperts, 2);
  const Tensor glogits = on_gpu(logits), gloss = unwritten<float>(1), glse = unwritten<float>(kTokens),
               gdlogits = on_gpu(dlogits);
  cpu::z_loss_forward<float>(kTokens, kExperts, logits.data(), loss.data(), lse.data());
  cpu::z_loss_backward<float>(kTokens, kExperts, logits.data(), lse.data(), dloss.data(), dlogits.data());
  cuda::z_loss_forward(kTokens, kExperts, glogits.data<float>(), gloss.data<float>(), glse.data<float>(),
                       current_stream());
  cuda::z_loss_backward(kTokens, kExperts, glogits.data<float>(), glse.data<float>(),
                        on_gpu(dloss).data<float>(), gdlogits.data<float>(), current_stream());
  CHECK(relative_difference(values_of<float>(gloss), loss) < kClose);
  CHECK(relative_difference(values_of<float>(gdlogits), dlogits) < kClose);
}

TEST_CASE("ids that do not exist give NaN on the GPU and touch nothing else", "[cuda][embedding]") {
  const kernels::EmbeddingShape s{.rows = 4, .symbols = 3, .dim = 5};
  const auto table = normals(15, 1);
  const Tensor ids = on_gpu(std::vector<int32_t>{2, -1, 3, 0}), y = unwritten<float>(20);
  cuda::embedding_forward(s, on_gpu(table).data<float>(), ids.data<int32_t>(), y.data<float>(),
                          current_stream());
  const auto got = values_of<float>(y);
  for (size_t c = 0; c < 5; ++c) {
    CHECK(got[c] == table[10 + c]);
    CHECK(std::isnan(got[5 + c]));
    CHECK(std::isnan(got[10 + c]));
    CHECK(got[15 + c] == table[c]);
  }
  const Tensor dtable = on_gpu(std::vector<float>(15, 0)), dy = on_gpu(std::vector<float>(20, 1));
  cuda::embedding_backward(s, ids.data<int32_t>(), dy.data<float>(), dtable.data<float>(), current_stream());
  std::vector<float> want(15, 1);
  std::fill(want.begin() + 5, want.begin() + 10, 0.0f);
  CHECK(values_of<float>(dtable) == want);
}

TEST_CASE("a target that does not exist makes the loss NaN on the GPU", "[cuda][cross_entropy]") {
  for (const int32_t bad : {-1, 4}) {
    const Tensor logits = on_gpu(normals(8, 1)), loss = unwritten<float>(1), lse = unwritten<float>(2);
    cuda::cross_entropy_forward({.rows = 2, .symbols = 4}, logits.data<float>(),
                                on_gpu(std::vector<int32_t>{1, bad}).data<int32_t>(), loss.data<float>(),
                                lse.data<float>(), current_stream());
    CHECK(std::isnan(values_of<float>(loss)[0]));
  }
}

TEST_CASE("sums over many rows are the CPU's", "[cuda][add_bias]") {
  for (const int64_t rows : {4096, 4097, 9000}) {
    const kernels::AddBiasShape s{.rows = rows, .dim = 37};
    const auto dy = normals(rows * s.dim, 2);
    std::vector<float> want = normals(s.dim, 3);
    const Tensor dbias = on_gpu(want);
    cpu::add_bias_backward<float>(s, dy.data(), nullptr, want.data());
    cuda::add_bias_backward(s, on_gpu(dy).data<float>(), nullptr, dbias.data<float>(), current_stream());
    CHECK(relative_difference(values_of<float>(dbias), want) < kClose);
  }
}

TEST_CASE("layer_norm of rows of every length is the CPU's", "[cuda][layer_norm]") {
  // In registers: 1, 2, 4 and 8 pieces of 128 columns; longer rows are read again. Many rows: several runs.
  for (const auto& [rows, dim] :
       {std::pair{3, 128}, {5, 129}, {70, 256}, {3, 511}, {4, 1000}, {3, 1025}, {2, 2048}, {17000, 3}}) {
    INFO(rows << " rows of " << dim);
    const kernels::LayerNormShape s{.rows = rows, .dim = dim};
    const auto x = normals(s.rows * s.dim, 1), gain = normals(dim, 2), bias = normals(dim, 3),
               dy = normals(s.rows * s.dim, 4);
    std::vector<float> y(x.size()), mean(static_cast<size_t>(rows)), rstd(mean.size()), dx = dy, dgain = gain,
                                                                                        dbias = bias;
    const Tensor gx = on_gpu(x), ggain = on_gpu(gain), gbias = on_gpu(bias), gdy = on_gpu(dy),
                 gy = unwritten<float>(s.rows * s.dim), gmean = unwritten<float>(rows),
                 grstd = unwritten<float>(rows), gdx = on_gpu(dx), gdgain = on_gpu(dgain),
                 gdbias = on_gpu(dbias);
    cpu::layer_norm_forward<float>(s, 1e-5, x.data(), gain.data(), bias.data(), y.data(), mean.data(),
                                   rstd.data());
    cpu::layer_norm_backward<float>(s, x.data(), gain.data(), mean.data(), rstd.data(), dy.data(), dx.data(),
                                    dgain.data(), dbias.data());
    cuda::layer_norm_forward(s, 1e-5, gx.data<float>(), ggain.data<float>(), gbias.data<float>(),
                             gy.data<float>(), gmean.data<float>(), grstd.data<float>(), current_stream());
    cuda::layer_norm_backward(s, gx.data<float>(), ggain.data<float>(), gmean.data<float>(),
                              grstd.data<float>(), gdy.data<float>(), gdx.data<float>(), gdgain.data<float>(),
                              gdbias.data<float>(), current_stream());
    CHECK(relative_difference(values_of<float>(gy), y) < kClose);
    CHECK(relative_difference(values_of<float>(gmean), mean) < kClose);
    CHECK(relative_difference(values_of<float>(grstd), rstd) < kClose);
    CHECK(relative_difference(values_of<float>(gdx), dx) < kClose);
    CHECK(relative_difference(values_of<float>(gdgain), dgain) < kClose);
    CHECK(relative_difference(values_of<float>(gdbias), dbias) < kClose);
  }
}

TEST_CASE("add_layer_norm of rows of every length is the CPU's", "[cuda][add_layer_norm]") {
  for (const auto& [rows, dim] : {std::pair{5, 129}, {70, 256}, {3, 511}, {4, 1000}, {3, 1025}, {2, 2048}}) {
    INFO(rows << " rows of " << dim);
    const kernels::LayerNormShape s{.rows = rows, .dim = dim};
    const kernels::DropRule rule(0.3);
    const RngAddress rng{.seed = 3, .step = 2, .stream = 1};
    const int64_t n = s.rows * s.dim;
    const auto x = normals(n, 1), y = normals(n, 2), gain = normals(dim, 3), bias = normals(dim, 4),
               dsum = normals(n, 5), dout = normals(n, 6);
    std::vector<float> sum(x.size()), out(x.size()), mean(static_cast<size_t>(rows)), rstd(mean.size()),
        dx = x, dy = y, dgain = gain, dbias = bias;  // the gradients begin as the values
    const Tensor gx = on_gpu(x), gy = on_gpu(y), ggain = on_gpu(gain), gbias = on_gpu(bias),
                 gdsum = on_gpu(dsum), gdout = on_gpu(dout), gsum = unwritten<float>(n),
                 gout = unwritten<float>(n), gmean = unwritten<float>(rows), grstd = unwritten<float>(rows),
                 gdx = on_gpu(dx), gdy = on_gpu(dy), gdgain = on_gpu(dgain), gdbias = on_gpu(dbias);
    cpu::add_layer_norm_forward<float>(s, 1e-5, rule, rng, x.data(), y.data(), gain.data(), bias.data(),
                                       sum.data(), out.data(), mean.data(), rstd.data());
    cpu::add_layer_norm_backward<float>(s, rule, rng, sum.data(), gain.data(), mean.data(), rstd.data(),
                                        dsum.data(), dout.data(), dx.data(), dy.data(), dgain.data(),
                                        dbias.data());
    cuda::add_layer_norm_forward(s, 1e-5, rule, rng, gx.data<float>(), gy.data<float>(), ggain.data<float>(),
                                 gbias.data<float>(), gsum.data<float>(), gout.data<float>(),
                                 gmean.data<float>(), grstd.data<float>(), current_stream());
    cuda::add_layer_norm_backward(s, rule, rng, gsum.data<float>(), ggain.data<float>(), gmean.data<float>(),
                                  grstd.data<float>(), gdsum.data<float>(), gdout.data<float>(),
                                  gdx.data<float>(), gdy.data<float>(), gdgain.data<float>(),
                                  gdbias.data<float>(), current_stream());
    CHECK(relative_difference(values_of<float>(gsum), sum) < kClose);
    CHECK(relative_difference(values_of<float>(gout), out) < kClose);
    CHECK(relative_difference(values_of<float>(gdx), dx) < kClose);
    CHECK(relative_difference(values_of<float>(gdy), dy) < kClose);
    CHECK(relative_difference(values_of<float>(gdgain), dgain) < kClose);
    CHECK(relative_difference(values_of<float>(gdbias), dbias) < kClose);
  }
}

TEST_CASE("the auxiliary losses of many tokens are the CPU's",
          "[cuda][importance_loss][load_loss][balance_loss]") {
  const kernels::GatingShape s{3001, 6, 2};
  const int64_t N = s.tokens, E = s.experts, k = s.topk;
  const auto logits = normals(N * E, 1), noise_logits = normals(N * E, 2), normal = normals(N * E, 3);
  std::vector<float> gate(static_cast<size_t>(N * k)), want_slope(static_cast<size_t>(E));
  for (size_t i = 0; i < gate.size(); ++i) gate[i] = to_uniform(random_u32({.seed = 5}, i));
  const auto expert = below(static_cast<int32_t>(E), N * k, 4);
  const Tensor glogits = on_gpu(logits), gnoise = on_gpu(noise_logits), gnormal = on_gpu(normal),
               ggate = on_gpu(gate), gexpert = on_gpu(expert), loss = unwritten<float>(1),
               slope = unwritten<float>(E);
  std::vector<float> want(1);
  const auto agree = [&] {
    CHECK(relative_difference(values_of<float>(loss), want) < kClose);
    CHECK(relative_difference(values_of<float>(slope), want_slope) < kClose);
  };
  cpu::importance_loss_forward<float>({N, k, E}, gate.data(), expert.data(), want.data(), want_slope.data());
  cuda::importance_loss_forward({N, k, E}, ggate.data<float>(), gexpert.data<int32_t>(), loss.data<float>(),
                                slope.data<float>(), current_stream());
  agree();
  cpu::balance_loss_forward<float>({N, k, E}, logits.data(), expert.data(), want.data(), want_slope.data());
  cuda::balance_loss_forward({N, k, E}, glogits.data<float>(), gexpert.data<int32_t>(), loss.data<float>(),
                             slope.data<float>(), current_stream());
  agree();
  cpu::load_loss_forward<float>(s, logits.data(), {noise_logits.data(), normal.data()}, want.data(),
                                want_slope.data());
  cuda::load_loss_forward(s, glogits.data<float>(), {gnoise.data<float>(), gnormal.data<float>()},
                          loss.data<float>(), slope.data<float>(), current_stream());
  agree();
}

TEST_CASE("attention with heads of every width is the CPU's", "[cuda][attention]") {
  for (const int64_t dim : {1, 16, 20, 48, 64, 100, 128})
    for (const int64_t tokens : {1, 31, 70})
      for (const double dropout : {0.0, 0.3}) {
        INFO("width " << dim << ", " << tokens << " tokens, dropout " << dropout);
        kernels::AttentionShape s;
        s.batch = 2;
        s.heads = 2;
        s.dim = dim;
        s.tokens = s.queries = tokens;
        s.scale = 0.3;
        s.drop = kernels::DropRule(dropout);
        s.rng = {.seed = 9, .step = 1, .stream = 2};
        const int64_t rows = s.batch * tokens, width = s.heads * dim;
        const auto qkv = normals(rows * 3 * width, 1), dy = normals(rows * width, 2);
        std::vector<float> y(static_cast<size_t>(rows * width)), lse(static_cast<size_t>(rows * s.heads)),
            dqkv = normals(rows * 3 * width, 3);
        const Tensor gqkv = on_gpu(qkv), gdy = on_gpu(dy), gy = unwritten<float>(rows * width),
                     glse = unwritten<float>(rows * s.heads), gdqkv = on_gpu(dqkv);
        cpu::attention_forward<float>(s, qkv.data(), nullptr, y.data(), lse.data());
        cpu::attention_backward<float>(s, qkv.data(), y.data(), lse.data(), dy.data(), dqkv.data());
        cuda::attention_forward(s, gqkv.data<float>(), nullptr, gy.data<float>(), glse.data<float>(),
                                current_stream());
        cuda::attention_backward(s, gqkv.data<float>(), gy.data<float>(), glse.data<float>(),
                                 gdy.data<float>(), gdqkv.data<float>(), current_stream());
        CHECK(relative_difference(values_of<float>(gy), y) < kClose);
        CHECK(relative_difference(values_of<float>(glse), lse) < kClose);
        CHECK(relative_difference(values_of<float>(gdqkv), dqkv) < kClose);
      }
}

TEST_CASE("what the GPU's kernels cannot take is refused with a reason", "[cuda]") {
  kernels::AttentionShape s;
  s.batch = s.heads = s.tokens = s.queries = 1;
  s.dim = kernels::cuda::kWidestHead + 1;
  const Tensor x = unwritten<float>(3 * s.dim);
  CHECK_THROWS_AS(
      cuda::attention_forward(s, x.data<float>(), nullptr, x.data<float>(), x.data<float>(), nullptr), Error);
  CHECK_THROWS_WITH(cuda::pointwise_forward(Square{}, 1, x.data<float>(), x.data<float>(), nullptr),
                    "square is not among the pointwise operations compiled for the GPU");
}

}  // namespace moe::test
