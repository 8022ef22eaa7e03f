// Operations that are given one value for two of their inputs.

#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "autograd/ops.h"
#include "core/parallel.h"
#include "tests/catch.h"
#include "tests/doubles.h"

namespace moe {
namespace {

using test::elements;
using Operation = std::function<Var(Tape&, const Var& a, const Var& b)>;

constexpr int64_t kSize = 160;  // products of two such matrices are worth several threads

Parameter some(const Shape& shape, uint64_t seed) {
  Parameter p = Parameter::create("x", shape, DType::f64);
  double phase = static_cast<double>(seed);
  for (double& v : p.value.span<double>()) v = std::sin(phase += 1.7);
  p.forget();
  return p;
}

Var constant(const Shape& shape, uint64_t seed) {
  return Var::constant(some(shape, seed).value, "not what is tested");
}

// One of `experts` for each of kSize tokens.
Tensor some_experts(int32_t experts) {
  Tensor expert = Tensor::empty({kSize, 1}, DType::i32);
  int32_t next = 0;
  for (int32_t& e : expert.span<int32_t>()) e = next = (5 * next + 3) % experts;
  return expert;
}

// The gradient of the sum of squares of operation(a, b).
void backward(const Operation& operation, const Parameter& a, const Parameter& b) {
  Arena arena(Device::cpu);
  Tape tape(arena, Mode::train);
  const Var y = operation(tape, Var::parameter(a), Var::parameter(b));
  tape.backward(y, y.value());
}

// With one value for both inputs its gradient is the sum of the two that two equal values get.
void check_twice(const Shape& shape, const Operation& operation) {
  const Parameter one = some(shape, 3), a = some(shape, 3), b = some(shape, 3);
  backward(operation, a, b);
  const std::vector<double> first = elements(a.grad), second = elements(b.grad);
  std::vector<double> sum(first.size());
  for (size_t i = 0; i < sum.size(); ++i) sum[i] = first[i] + second[i];
  for (int round = 0; round < 5; ++round) {
    one.forget();
    backward(operation, one, one);
    CHECK(elements(one.grad) == sum);
    CHECK(!one.squares());
  }
}

}  // namespace

TEST_CASE("an operation that is given one value twice adds both gradients to it", "[tape]") {
  set_threads(3);
  const Shape square{kSize, kSize}, row{kSize};
  const Var x = constant(square, 7), gain = constant(row, 8), bias = constant(row, 9);

  SECTION("add") {
    check_twice(square, [](Tape& t, const Var& a, const Var& b) { return add(t, a, b); });
  }
  SECTION("linear") {
    check_twice(square, [&](Tape& t, const Var& a, const Var& b) { return linear(t, a, b, bias); });
  }
  SECTION("router_logits, x and weight") {
    check_twice(square,
                [&](Tape& t, const Var& a, const Var& b) { return router_logits(t, a, b, bias).logits; });
  }
  SECTION("router_logits, both weights") {
    check_twice(square, [&](Tape& t, const Var& a, const Var& b) {
      const RouterLogits r = router_logits(t, x, a, bias, b, bias);
      return add(t, r.logits, r.noise_logits);
    });
  }
  SECTION("router_logits, both biases") {
    check_twice(row, [&](Tape& t, const Var& a, const Var& b) {
      const RouterLogits r = router_logits(t, x, x, a, x, b);
      return add(t, r.logits, r.noise_logits);
    });
  }
  SECTION("layer_norm") {
    check_twice(row, [&](Tape& t, const Var& a, const Var& b) { return layer_norm(t, x, a, b); });
  }
  SECTION("add_layer_norm, both summands") {
    check_twice(square, [&](Tape& t, const Var& a, const Var& b) {
      return add_layer_norm(t, a, b, gain, bias, 0, {}).norm;
    });
  }
  SECTION("add_layer_norm, gain and bias") {
    check_twice(
        row, [&](Tape& t, const Var& a, const Var& b) { return add_layer_norm(t, x, x, a, b, 0, {}).norm; });
  }
  SECTION("add_combine") {
    const Var gate = constant({kSize, 1}, 11);
    check_twice(square, [&](Tape& t, const Var& a, const Var& b) {
      return add_combine(t, a, b, gate, dispatch_plan(t, some_experts(7), 7), 0, {});
    });
  }
  SECTION("grouped_linear and gathered_linear, x and bias") {
    const Var weight = constant({kSize, kSize, kSize}, 13);
    check_twice(square, [&](Tape& t, const Var& a, const Var& b) {
      return grouped_linear(t, a, weight, b, dispatch_plan(t, some_experts(kSize), kSize));
    });
    check_twice(square, [&](Tape& t, const Var& a, const Var& b) {
      return gathered_linear(t, a, weight, b, dispatch_plan(t, some_experts(kSize), kSize));
    });
  }
  set_threads(0);
}

}  // namespace moe
