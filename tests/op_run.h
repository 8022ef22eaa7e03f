#pragma once
// Runs an operation case: shared by the tests of all cases and by the benchmark.

#include "autograd/gradcheck.h"
#include "tests/op_cases.h"

namespace moe::test {

// The inputs of a case as parameters: zero gradients, none for constants. Values on Device::cpu only.
std::vector<Parameter> parameters_of(const OpCase&, DType, Device = Device::cpu);
std::vector<Var> variables_of(std::span<const Parameter>);

// The values of the inputs, as a reference wants them. Exact in both types.
template <class T>
Values<T> values_of(const OpCase&);

// A fixed dL/dy of standard normals, exact in float.
std::vector<double> output_gradient(const Shape&);

// How a case's gradient is checked: the declared zeros, and an atol of 1e-8, since finite differences are
// good for 3e-11 (autograd/gradcheck.h) and the gradient of a mean over many tokens is small.
GradcheckOptions gradcheck_options(const OpCase&);

template <class T>
struct Outcome {
  Shape shape;
  std::vector<T> y;
  Values<T> gradient;  // of each input; empty for constants and for inference cases
};

struct RunOptions {
  Device device = Device::cpu;
  // Added to each gradient before backward runs.
  double prefill = 0;
  // The inputs are results of the tape, as inside a model: their gradients come from the arena, and the
  // kernel that is the first to have something for one may write it instead of adding it. For prefill 0.
  bool inputs_on_tape = false;
  // When not 0, every input and dL/dy is multiplied by 1 +- this, the sign drawn at random by `draw`.
  double perturb = 0;
  uint32_t draw = 0;
};

// Forward, and backward from output_gradient() unless the case is for inference only. All arena memory holds
// NaN at the start, so that a kernel that does not write its whole output is found out.
template <class T>
Outcome<T> run_case(const OpCase&, const RunOptions& = {});

// Shape and memory of a run without poison, on the CPU or on Device::meta.
struct Plan {
  Shape shape;
  int64_t peak_bytes = 0, reserved_bytes = 0;
};
Plan plan_case(const OpCase&, DType, Device, int64_t reserve_bytes = 0);

// The largest |value|, and the largest |a - b|, infinite when sizes differ or a NaN stands on one side.
template <class T>
double largest(const std::vector<T>& values);
template <class T, class U>
double difference(const std::vector<T>& a, const std::vector<U>& b);

// How far the forward result may be from the reference in double.
//
// The measure is the error of the naive float loops against the same loops in double. That error is a random
// number, small by luck where the output has few elements: it is the largest over several draws with inputs
// moved by a few roundings (one draw for benchmark shapes, which have many elements). Both paths may round
// differently and reorder sums, hence twice that. The floor is one unit in the last place of the largest
// output.
//   float:  2 naive + 2^-23 largest
// In double all roundings shrink by 2^-29, but the reference is rounded as well, hence twice as much again.
//   double: 2^-29 (4 naive + 2 * 2^-23 largest)
struct Tolerance {
  double f32 = 0, f64 = 0;
};
Tolerance forward_tolerance(const OpCase&, const std::vector<double>& reference);

// How far the float gradient of each input may be from the double one.
//
// There are no naive float loops for gradients. What one rounding of each number does is measured instead:
// the double path runs with inputs and dL/dy multiplied by 1 +- 2^-24, signs at random, four times; `moved`
// is the largest change of any element. A sum of n terms makes n roundings of partial sums that themselves
// grow like sqrt(n), where `moved` sees one rounding a term: a factor of sqrt(n), with n the longest axis of
// any input or of the output. Twice for slack, and the same floor as above.
//   2 sqrt(n) moved + 2^-23 largest
// A gradient declared zero is a sum of terms that cancel, whose size shows in neither; they are taken to be
// of the size of dL/dy, which adds 2 sqrt(n) 2^-24 max |dL/dy|.
std::vector<double> gradient_tolerance(const OpCase&, const Outcome<double>&);

}  // namespace moe::test
