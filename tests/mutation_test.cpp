// Would the gradient check notice? Each gradient of each operation is falsified in turn, and the check must
// fail. This is what stops a case from being too weak to prove anything.

#include <algorithm>
#include <map>
#include <sstream>

#include "tests/catch.h"
#include "tests/op_run.h"

namespace moe::test {
namespace {

struct Mutation {
  const char* what;
  double factor;  // of what one step of backward adds
};
constexpr Mutation kMutations[] = {{"sign flipped", -1}, {"left out", 0}, {"0.1% too large", 1.001}};

std::vector<double> snapshot(const Tensor& t) {
  const auto s = t.span<double>();
  return {s.begin(), s.end()};
}

// Multiplies by `factor` what each step of backward contributes to the gradient tensor `target`.
void falsify(Tape& tape, const Tensor& target, double factor, int& steps) {
  tape.intercept([=, &steps](const Tape::Step& step) {
    const auto is_target = [&](const GradSlot& slot) {
      return slot.get().defined() && slot.get().bytes_begin() == target.bytes_begin();
    };
    if (std::none_of(step.inputs.begin(), step.inputs.end(), is_target)) return step.run(step.dy);
    ++steps;
    const std::vector<double> before = snapshot(target);
    step.run(step.dy);
    const auto after = target.span<double>();
    for (size_t i = 0; i < before.size(); ++i) after[i] = before[i] + factor * (after[i] - before[i]);
  });
}

// An input that can be mutated: one with elements and with a gradient that is not zero.
bool has_gradient(const CaseInput& in, const Shape& result) {
  return in.gradient == Gradient::checked && in.shape.numel() > 0 && result.numel() > 0;
}

}  // namespace

TEST_CASE("the gradient check fails when any gradient of any operation is falsified", "[op][mutation]") {
  std::map<std::string, int> caught;
  for (const OpCase& c : op_cases()) {
    if (c.benchmark || c.mode == Mode::infer) continue;
    const Shape result = plan_case(c, DType::f64, Device::meta).shape;
    const std::vector<Parameter> parameters = parameters_of(c, DType::f64);
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      if (!has_gradient(c.inputs[i], result)) continue;
      for (const auto& [what, factor] : kMutations) {
        INFO(c.name() << ": gradient of " << c.inputs[i].name << " " << what);
        int steps = 0;
        const auto falsified = [&, factor = factor](Tape& tape, Inputs in) {
          falsify(tape, parameters[i].grad, factor, steps);
          return c.build(tape, in);
        };
        const GradcheckResult checked = gradcheck(falsified, parameters, gradcheck_options(c));
        CHECK(steps > 0);
        CHECK_FALSE(checked.ok);
        if (!checked.ok) ++caught[c.op];
      }
    }
  }

  int total = 0;
  std::istringstream ops(MOE_OPS);
  for (std::string op; ops >> op;) {
    total += caught[op];
    if (std::ranges::find(ops_without_gradient(), op, &OpWithoutGradient::op) != ops_without_gradient().end())
      continue;
    INFO("operation " << op);
    CHECK(caught[op] > 0);
  }
  WARN(total << " falsified gradients caught");
}

}  // namespace moe::test
