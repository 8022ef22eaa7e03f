// Pointwise operations. spread() keeps relu away from its kink.

#include <fmt/format.h>

#include <cmath>

#include "autograd/ops.h"
#include "tests/op_cases.h"

namespace moe::test {
namespace {

template <class Formula>
void add(OpCases& cases, const std::string& name, Var (*op)(Tape&, const Var&), Formula formula) {
  const auto add_case = [&](const std::string& label, CaseInput x, std::optional<Cost> benchmark = {}) {
    cases.push_back({.op = "pointwise",
                     .label = name + " " + label,
                     .inputs = {std::move(x)},
                     .build = [op](Tape& tape, Inputs in) { return op(tape, in[0]); },
                     .reference =
                         [formula]<class T>(const Values<T>& in) {
                           std::vector<T> y;
                           for (const T v : in[0]) y.push_back(formula(v));
                           return y;
                         },
                     .benchmark = benchmark});
  };
  for (const Shape& shape : {Shape{1}, Shape{7}, Shape{3, 5}, Shape{2, 3, 1, 4}, Shape{0, 4}})
    add_case(shape.str(), spread("x", shape));
  add_case("far from zero", given("x", {4}, {-12.5, 12.5, -3, 3}));

  const Shape typical{1024, 512};  // the rows of 512 tokens at two experts each, inside the experts
  const double bytes = 4.0 * static_cast<double>(typical.numel());
  add_case(typical.str(), normal("x", typical), Cost{.bytes = 2 * bytes, .backward_bytes = 4 * bytes});
}

}  // namespace

void add_pointwise_cases(OpCases& cases) {
  add(cases, "relu", relu, []<class T>(T x) { return x > 0 ? x : T(0); });
  add(cases, "silu", silu, []<class T>(T x) { return x * (T(1) / (T(1) + std::exp(-x))); });
  add(cases, "softplus", softplus, []<class T>(T x) { return std::log1p(std::exp(x)); });
}

}  // namespace moe::test
