// The gradient check itself: it passes what is right and fails what is wrong, in every way there is to be
// wrong.

#include "autograd/gradcheck.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "autograd/ops.h"
#include "tests/catch.h"

namespace moe {
namespace {

Parameter input(const char* name, int64_t n) {
  Parameter p = Parameter::create(name, {n}, DType::f64);
  for (int64_t i = 0; i < n; ++i) p.value.data<double>()[i] = 0.7 * static_cast<double>(i) - 1.3;
  return p;
}

// y = x^3 with a derivative of our choice, `wrong` added to 3x^2 at element 2.
Var cube(Tape& tape, const Var& x, double factor, double wrong = 0) {
  Tensor y = tape.empty(x.shape(), x.dtype());
  const auto in = x.value().span<double>(), out = y.span<double>();
  for (size_t i = 0; i < in.size(); ++i) out[i] = in[i] * in[i] * in[i];
  return tape.record("cube", y, {x}, [=](const Tensor& dy) {
    const auto v = x.value().span<double>(), d = dy.span<double>(), dx = x.grad().accumulate().span<double>();
    for (size_t i = 0; i < v.size(); ++i) dx[i] += d[i] * factor * (3 * v[i] * v[i] + (i == 2 ? wrong : 0));
  });
}

}  // namespace

TEST_CASE("the gradient check passes a right gradient, to eight digits", "[gradcheck]") {
  const std::array inputs{input("x", 5)};
  const auto result = gradcheck([](Tape& t, std::span<const Var> in) { return cube(t, in[0], 1); }, inputs,
                                {.atol = 1e-8, .rtol = 1e-8});
  INFO(result.str());
  CHECK(result.ok);
  CHECK(result.checked == 5);
  CHECK(result.zero.empty());
}

TEST_CASE("the gradient check names the element that is wrong", "[gradcheck]") {
  const std::array inputs{input("bystander", 3), input("x", 5)};
  const auto wrong = [](Tape& t, std::span<const Var> in) {
    return add(t, cube(t, in[1], 1, 1e-3), scale(t, in[1], 0));
  };
  const auto result = gradcheck(wrong, inputs, {.zero = {"bystander"}});
  CHECK_FALSE(result.ok);
  CHECK(result.worst.input == "x");
  CHECK(result.worst.index == 2);
  CHECK(std::abs(result.worst.analytic - result.worst.numeric) > 0.5e-3);
  CHECK_THAT(result.str(), Catch::Contains("x[2]"));
}

TEST_CASE("the gradient check fails when an input gets no gradient", "[gradcheck]") {
  const std::array inputs{input("x", 4), input("frozen", 4)};
  // `frozen` counts in the value, and its gradient is forgotten.
  const auto forgetful = [](Tape& t, std::span<const Var> in) {
    return add(t, cube(t, in[0], 1), scale(t, Var::constant(in[1].value(), "forgotten"), 2));
  };
  const auto result = gradcheck(forgetful, inputs);
  CHECK_FALSE(result.ok);
  CHECK(result.worst.input == "frozen");
  // Nothing at all is recorded.
  const auto detached = [](Tape& t, std::span<const Var> in) {
    return scale(t, Var::constant(in[0].value(), "forgotten"), 2);
  };
  CHECK_FALSE(gradcheck(detached, std::span(inputs).first(1)).ok);
  const std::array fixed{Parameter::create("x", {3}, DType::f64, Device::cpu, false)};
  CHECK_THROWS_WITH(gradcheck(detached, fixed), Catch::Contains("no input has a gradient"));
}

TEST_CASE("the gradient check does not take zero for proof unless it is told to", "[gradcheck]") {
  const std::array inputs{input("x", 4), input("unused", 4)};
  const auto f = [](Tape& t, std::span<const Var> in) { return cube(t, in[0], 1); };
  const auto result = gradcheck(f, inputs);
  CHECK_FALSE(result.ok);
  CHECK(result.zero == std::vector<std::string>{"unused"});
  CHECK(gradcheck(f, inputs, {.zero = {"unused"}}).ok);
  CHECK_FALSE(gradcheck(f, inputs, {.zero = {"unused", "x"}}).ok);  // x was said to be zero, and is not
}

TEST_CASE("the gradient check fails on NaN", "[gradcheck]") {
  const std::array inputs{input("x", 4)};
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_FALSE(gradcheck([=](Tape& t, std::span<const Var> in) { return cube(t, in[0], nan); }, inputs).ok);
  CHECK_FALSE(gradcheck([=](Tape& t, std::span<const Var> in) { return scale(t, in[0], nan); }, inputs).ok);
}

TEST_CASE("a sampled gradient check looks at as many elements as it was told, and at the largest",
          "[gradcheck]") {
  const std::array inputs{input("x", 1000)};
  int runs = 0;
  const auto f = [&](Tape& t, std::span<const Var> in) {
    ++runs;
    return cube(t, in[0], 1);
  };
  const auto result = gradcheck(f, inputs, {.max_elements = 7});
  CHECK(result.ok);
  CHECK(result.checked == 8);
  CHECK(runs == 1 + 2 * 8);
}

TEST_CASE("the gradient check puts the values back and leaves the analytic gradient", "[gradcheck]") {
  const std::array inputs{input("x", 5)};
  const auto span = inputs[0].value.span<double>();
  const std::vector<double> before(span.begin(), span.end());
  std::ranges::fill(inputs[0].grad.span<double>(), 99.0);  // what an earlier step left
  CHECK(gradcheck([](Tape& t, std::span<const Var> in) { return scale(t, in[0], 2); }, inputs).ok);
  CHECK(std::ranges::equal(span, before));
  for (const double g : inputs[0].grad.span<double>()) CHECK((std::abs(g) >= 1 && std::abs(g) <= 3));
}

TEST_CASE("the gradient check asks for doubles on the CPU", "[gradcheck]") {
  const auto f = [](Tape& t, std::span<const Var> in) { return scale(t, in[0], 2); };
  CHECK_THROWS_AS(gradcheck(f, std::array{Parameter::create("x", {2}, DType::f32)}), Error);
  CHECK_THROWS_AS(gradcheck(f, std::array{Parameter::create("x", {2}, DType::f64, Device::meta)}), Error);
}

}  // namespace moe
