#pragma once
// The list of operation cases. One case proves an operation in every way there is: forward against plain
// loops in double and in float, the gradient against finite differences, float gradients against double ones,
// accumulation, repeatability for any number of threads, the meta device (op_test.cpp), that the gradient
// check would notice a wrong gradient (mutation_test.cpp), and its speed (bench/bench_ops.cpp).
//
// An author adds cases to a group, tests/op_cases/<group>.cpp:
//
//   void add_case(OpCases& cases, int64_t n, int64_t k, int64_t m) {
//     cases.push_back({.op = "linear",  // the add_op name in CMakeLists.txt
//                      .label = fmt::format("{}x{}x{}", n, k, m),
//                      .inputs = {normal("x", {n, k}), normal("weight", {m, k}), normal("bias", {m})},
//                      .build = [](Tape& t, Inputs in) { return linear(t, in[0], in[1], in[2]); },
//                      .reference = [=]<class T>(const Values<T>& in) {  // in[i]: elements of input i
//                        std::vector<T> y(n * m);
//                        // plain loops, the formula as written
//                        return y;
//                      }});
//   }
//
// Small shapes (a gradient check runs the case twice for each input element), edge sizes, sizes that are
// no multiple of any tile, and one shape typical for the model with .benchmark set. A benchmark shape is
// compared with its reference and repeated on several threads, but not gradient-checked. Its reference
// should take less than a second.
//
// Rules of a case:
// - Inputs stay away from kinks: no relu input near 0, no two logits that compete for the last place of
//   a top-k closer than 1e-3. spread() gives such values.
// - Integer inputs (ids, experts, plans) are made inside `build`: ints(tape, {4, 2}, {0, 1, ...}) makes a
//   tensor on the tape's device. On Device::meta it has no elements to read.
// - A floating input that the operation takes as a Tensor (recorded noise) is an input with
//   Gradient::none, and `build` passes in[i].value().
// - `build` returns one Var, the output to check. It may call other operations first (dispatch_plan
//   before gather). It is called many times, in double and in float, and must be pure.
// - An operation that has no gradient at all belongs into ops_without_gradient() instead.

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "autograd/tape.h"

namespace moe::test {

enum class Gradient {
  checked,  // must be right, and not zero everywhere (inputs and outputs without elements excepted)
  zero,     // needs a gradient whose true value is zero everywhere
  none,     // a constant
};

// One floating input. Its values are exact in float, so that the float and the double path see the same.
struct CaseInput {
  std::string name;
  Shape shape;
  std::vector<double> values;
  Gradient gradient = Gradient::checked;
};

// Normals with the given deviation and mean. The same name and shape give the same values.
CaseInput normal(std::string name, const Shape&, Gradient = Gradient::checked, double deviation = 1,
                 double mean = 0);
CaseInput uniform(std::string name, const Shape&, double low, double high, Gradient = Gradient::checked);
// Along the last axis a random order of (i - (n-1)/2 + 0.25) * gap, jittered by a tenth of a gap: no two
// values of a row closer than 0.8 gap, none closer to 0 than 0.15 gap.
CaseInput spread(std::string name, const Shape&, double gap = 0.5, Gradient = Gradient::checked);
CaseInput given(std::string name, const Shape&, std::vector<double> values, Gradient = Gradient::checked);

// An i32 tensor on the tape's device, not from its arena; on Device::meta the values are left out. On a GPU
// all who ask for the same numbers share them, so that asking again copies nothing: a graph can be made of
// it.
Tensor ints(Tape&, const Shape&, std::span<const int32_t> values);
inline Tensor ints(Tape& tape, const Shape& shape, std::initializer_list<int32_t> values) {
  return ints(tape, shape, std::span(values.begin(), values.size()));
}

using Inputs = std::span<const Var>;
template <class T>
using Values = std::vector<std::vector<T>>;

// A generic lambda []<class T>(const Values<T>& in) { ...; return std::vector<T>{...}; }, kept for both
// types.
class Reference {
 public:
  Reference() = default;
  template <class F, class = std::enable_if_t<!std::is_same_v<std::decay_t<F>, Reference>>>
  Reference(F f) : f32_(f), f64_(f) {}

  template <class T>
  std::vector<T> operator()(const Values<T>& in) const {
    if constexpr (std::is_same_v<T, float>)
      return f32_(in);
    else
      return f64_(in);
  }

 private:
  std::function<std::vector<float>(const Values<float>&)> f32_;
  std::function<std::vector<double>(const Values<double>&)> f64_;
};

// What a float run costs, for the benchmark: set flops where arithmetic bounds the operation, else bytes
// (read and written). `backward` is the gradient's part alone, all inputs together.
struct Cost {
  double flops = 0, bytes = 0;
  double backward_flops = 0, backward_bytes = 0;
};

// Bytes of n floats.
inline double float_bytes(int64_t n) {
  return 4.0 * static_cast<double>(n);
}

struct OpCase {
  std::string op;     // the add_op name
  std::string label;  // what distinguishes this case
  std::vector<CaseInput> inputs;
  std::function<Var(Tape&, Inputs)> build;
  Reference reference;
  std::optional<Cost> benchmark = {};
  Mode mode =
      Mode::train;  // infer: an inference-only path (attention with a cache), its forward alone is tested

  std::string name() const { return op + " " + label; }
};
using OpCases = std::vector<OpCase>;

// The groups, one file each.
void add_pointwise_cases(OpCases&);
void add_linear_cases(OpCases&);
void add_dense_cases(OpCases&);
void add_routing_cases(OpCases&);
void add_dispatch_cases(OpCases&);

// All groups.
const OpCases& op_cases();

// Operations that cannot have a case, each with the tag of the tests that prove it: a file in tests/ must
// contain it. Declared in op_cases.cpp.
struct OpWithoutGradient {
  const char* op;
  const char* tag;
};
std::span<const OpWithoutGradient> ops_without_gradient();

}  // namespace moe::test
