// What the dense operations must refuse, and how exact their sums are.

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "autograd/ops.h"
#include "core/parallel.h"
#include "tests/catch.h"

namespace moe {
namespace {

Var zeros(const Shape& shape) {
  return Var::parameter({"x", Tensor::zeros(shape, DType::f32), {}});
}

Tensor ids(std::vector<int32_t> values) {
  return Tensor::from(std::span<const int32_t>(values), {static_cast<int64_t>(values.size())});
}

ErrorKind kind_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.kind();
  }
  FAIL("nothing was thrown");
  return {};
}

}  // namespace

TEST_CASE("ids outside the table and targets outside the logits are refused", "[embedding][cross_entropy]") {
  Arena arena(Device::cpu);
  Tape tape(arena, Mode::train);
  for (const int threads : {1, 3}) {
    set_threads(threads);
    for (const int32_t id : {-1, 5, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()})
      for (const size_t position : {0, 130, 299}) {
        std::vector<int32_t> values(300, 4);
        values[position] = id;
        CHECK(kind_of([&] { embedding(tape, zeros({5, 2}), ids(values)); }) == ErrorKind::runtime);
        CHECK(kind_of([&] { cross_entropy(tape, zeros({300, 5}), ids(values)); }) == ErrorKind::runtime);
      }
  }
  set_threads(0);
  CHECK_THROWS_WITH(embedding(tape, zeros({5, 2}), ids({0, 7})),
                    "embedding: ids[1] must lie in [0, 5), got 7");
  CHECK_THROWS_WITH(cross_entropy(tape, zeros({1, 5}), ids({-3})),
                    "cross_entropy: targets[0] must lie in [0, 5), got -3");
}

TEST_CASE("the gradients of a bias and of a column of ones are equally exact over many rows", "[dense]") {
  constexpr int64_t kRows = 1 << 16;
  constexpr double kExact = kRows * static_cast<double>(0.1f);
  Arena arena(Device::cpu);
  Tape tape(arena, Mode::train);
  const Parameter weight = Parameter::create("weight", {3, 1}, DType::f32),
                  bias = Parameter::create("bias", {3}, DType::f32);
  const Tensor x = Tensor::empty({kRows, 1}, DType::f32), dy = Tensor::empty({kRows, 3}, DType::f32);
  std::ranges::fill(x.span<float>(), 1.0f);
  std::ranges::fill(dy.span<float>(), 0.1f);
  const Var y = linear(tape, Var::constant(x, "ones"), Var::parameter(weight), Var::parameter(bias));
  tape.backward(y, dy);
  for (const Tensor& gradient : {weight.grad, bias.grad})
    for (const float d : gradient.span<float>()) CHECK(std::abs(static_cast<double>(d) / kExact - 1) < 2e-5);
}

TEST_CASE("the dense operations name what does not fit", "[dense]") {
  Arena arena(Device::cpu);
  Tape tape(arena, Mode::infer);
  CHECK_THROWS_WITH(add(tape, zeros({2, 3}), zeros({3, 2})), "add: b must be [2, 3], got [3, 2]");
  CHECK_THROWS_WITH(add_bias(tape, zeros({2, 3}), zeros({2})), "add_bias: bias must be [3], got [2]");
  CHECK_THROWS_WITH(embedding(tape, zeros({5}), ids({0})), "embedding: table must be [V, C], got [5]");
  CHECK_THROWS_WITH(embedding(tape, zeros({5, 2}), Tensor::zeros({2}, DType::f32)),
                    "embedding: ids must be i32 [N], got f32 [2]");
  CHECK_THROWS_WITH(layer_norm(tape, zeros({2, 3}), zeros({2}), zeros({3})),
                    "layer_norm: gain must be [3], got [2]");
  CHECK_THROWS_WITH(layer_norm(tape, zeros({2, 3}), zeros({3}), zeros({1})),
                    "layer_norm: bias must be [3], got [1]");
  CHECK_THROWS_WITH(cross_entropy(tape, zeros({2, 3}), ids({0})),
                    "cross_entropy: targets must be i32 [2], got i32 [1]");
  CHECK_THROWS_WITH(cross_entropy(tape, zeros({0, 3}), ids({})),
                    "cross_entropy: there is no mean over 0 rows");
}

TEST_CASE("a row of layer norm does not depend on the others", "[layer_norm]") {
  const int64_t rows = 70, dim = 37;
  const Parameter x = Parameter::create("x", {rows, dim}, DType::f32);
  uint64_t i = 0;
  for (float& v : x.value.span<float>()) v = static_cast<float>(random_normal({.seed = 2}, i++));
  const Var gain = Var::constant(x.value.rows(0, 1).reshape({dim}), "a gain"), bias = zeros({dim});
  Arena arena(Device::cpu);
  Tape tape(arena, Mode::infer);
  const Var together = layer_norm(tape, Var::parameter(x), gain, bias);
  for (int64_t n = 0; n < rows; ++n) {
    const Var alone = layer_norm(tape, Var::constant(x.value.rows(n, n + 1), "a row"), gain, bias);
    const auto a = alone.value().span<float>(), b = together.value().rows(n, n + 1).span<float>();
    REQUIRE(std::equal(a.begin(), a.end(), b.begin(), b.end()));
  }
}

}  // namespace moe
