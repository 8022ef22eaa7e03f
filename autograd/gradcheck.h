#pragma once
// Are the gradients right? Compares what the tape computes with finite differences, in double.
//
//   Parameter x = ...;                       // f64, on the CPU
//   auto f = [](Tape& tape, std::span<const Var> in) { return my_op(tape, in[0]); };
//   const GradcheckResult result = gradcheck(f, std::array{x});
//   if (!result.ok) fmt::print("{}\n", result.str());
//
// A whole model works as well: `f` runs it and returns the loss, `inputs` are copies of its parameters (a
// copy of a Parameter shares its tensors), max_elements keeps the time in hand.

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "autograd/tape.h"

namespace moe {

struct GradcheckOptions {
  // The step, relative to max(1, |x|). A central difference errs by eps^2/6 |f'''| from truncation and by
  // u|f|/eps from rounding, u = 2^-53. For |f| about |f'''| the sum is smallest at (3u)^(1/3) = 0.91 * 2^-17,
  // where it is about 3e-11, far below atol.
  double eps = 0x1p-17;
  // An element passes when |analytic - numeric| <= atol + rtol |numeric|.
  double atol = 1e-6, rtol = 1e-5;
  // Check at most this many elements of each input: one of each of so many equal parts, and always the one
  // with the largest gradient. 0: all.
  int64_t max_elements = 0;
  // Names of the inputs whose true gradient is zero (below atol) everywhere. Any other input for which both
  // sides are zero fails the check: comparing zero with zero proves nothing.
  std::vector<std::string> zero = {};
  // Of the random projection and of the choice of elements.
  uint64_t seed = 0;
};

struct GradcheckResult {
  bool ok = false;
  int64_t checked = 0;  // elements compared

  // The element that is farthest off; `error` is |analytic - numeric| in units of what is allowed, so a
  // value above 1, or NaN, has failed.
  struct Element {
    std::string input;
    int64_t index = 0;
    double analytic = 0, numeric = 0, error = -1;
  } worst;

  // Inputs with no gradient above atol, analytic or numeric, anywhere.
  std::vector<std::string> zero;
  // Those of `zero` that were not expected to be, and those expected that were not.
  std::vector<std::string> unexpected;

  std::string str() const;  // one line
};

using GradcheckFunction = std::function<Var(Tape&, std::span<const Var>)>;

// Checks d(r . f(inputs)) / d(inputs) for a random r of the shape of f's result, so that errors of different
// outputs do not cancel. `f` gets the inputs as variables; it must return the same for the same inputs, and
// have no kink within a step of them. Inputs without a gradient tensor are constants. Elements are changed
// one by one and put back; the inputs' gradients hold the analytic gradient afterwards. Throws
// ErrorKind::usage when an input is not f64 on the CPU.
GradcheckResult gradcheck(const GradcheckFunction& f, std::span<const Parameter> inputs,
                          const GradcheckOptions& options = {});

}  // namespace moe
