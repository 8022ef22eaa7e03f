#include "tests/op_run.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/philox.h"
#include "tests/worse.h"

namespace moe::test {
namespace {

constexpr double kUlp = 0x1p-23;  // of a float, relative, at most
constexpr double kFloatToDouble = 0x1p-29;
constexpr int kDraws = 4;

double sign(uint32_t stream, uint32_t draw, size_t index) {
  return random_u32({.seed = 7, .step = draw, .stream = stream}, index) & 1 ? 1.0 : -1.0;
}

template <class T>
void perturb(std::span<T> values, const RunOptions& options, uint32_t stream) {
  if (options.perturb == 0) return;
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<T>(values[i] * (1 + options.perturb * sign(stream, options.draw, i)));
}

template <class T>
Tensor as_tensor(const std::vector<double>& values, const Shape& shape) {
  const std::vector<T> converted(values.begin(), values.end());
  return Tensor::from(std::span<const T>(converted), shape);
}

template <class T>
std::vector<T> as_vector(const Tensor& t) {
  const Tensor host = t.to(Device::cpu);
  const auto s = host.span<T>();
  return {s.begin(), s.end()};
}

// An arena whose memory is all NaN. The tensor that covers it goes back before the run begins.
Arena poisoned_arena(Device device, int64_t bytes) {
  Arena arena(device, bytes);
  const Shape whole{bytes / static_cast<int64_t>(sizeof(double))};
  const Tensor nan = Tensor::empty(whole, DType::f64);
  std::memset(nan.bytes_begin(), 0xFF, static_cast<size_t>(nan.nbytes()));  // NaN in float and in double
  arena.allocate(whole, DType::f64).copy_from(nan);
  return arena;
}

}  // namespace

std::vector<Parameter> parameters_of(const OpCase& c, DType dtype, Device device) {
  std::vector<Parameter> parameters;
  for (const CaseInput& in : c.inputs) {
    Parameter p = Parameter::create(in.name, in.shape, dtype, device);
    if (device == Device::cpu)
      p.value.copy_from(dtype == DType::f64 ? as_tensor<double>(in.values, in.shape)
                                            : as_tensor<float>(in.values, in.shape));
    if (in.gradient == Gradient::none) p.grad = {};
    parameters.push_back(std::move(p));
  }
  return parameters;
}

namespace {

// Results of the tape that have the values of parameters, and hand their gradients on to them.
std::vector<Var> results_of(Tape& tape, std::span<const Parameter> parameters) {
  std::vector<Var> variables;
  for (const Parameter& p : parameters)
    variables.push_back(tape.record("input", p.value, {Var::parameter(p)},
                                    [to = p.grad](const Tensor& dy) { to.copy_from(dy); }));
  return variables;
}

}  // namespace

std::vector<Var> variables_of(std::span<const Parameter> parameters) {
  std::vector<Var> variables;
  for (const Parameter& p : parameters) variables.push_back(Var::parameter(p));
  return variables;
}

template <class T>
Values<T> values_of(const OpCase& c) {
  Values<T> values;
  for (const CaseInput& in : c.inputs) values.emplace_back(in.values.begin(), in.values.end());
  return values;
}

std::vector<double> output_gradient(const Shape& shape) {
  std::vector<double> dy(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < dy.size(); ++i)
    dy[i] = static_cast<float>(random_normal({.seed = 21, .step = 0, .stream = 0}, i));
  return dy;
}

GradcheckOptions gradcheck_options(const OpCase& c) {
  GradcheckOptions options{.atol = 1e-8};
  for (const CaseInput& in : c.inputs)
    if (in.gradient == Gradient::zero) options.zero.push_back(in.name);
  return options;
}

template <class T>
Outcome<T> run_case(const OpCase& c, const RunOptions& options) {
  std::vector<Parameter> parameters = parameters_of(c, dtype_of<T>());
  uint32_t stream = 0;
  for (Parameter& p : parameters) {
    ++stream;
    if (p.grad.defined()) {  // constants may be masks or recorded noise: they stay
      perturb(p.value.span<T>(), options, stream);
      std::ranges::fill(p.grad.span<T>(), static_cast<T>(options.prefill));
    }
    p.value = p.value.to(options.device);
    p.grad = p.grad.to(options.device);
  }
  Arena arena = poisoned_arena(options.device, plan_case(c, dtype_of<T>(), Device::meta).peak_bytes);
  Tape tape(arena, c.mode);
  const Var y =
      c.build(tape, options.inputs_on_tape ? results_of(tape, parameters) : variables_of(parameters));
  Outcome<T> outcome{y.shape(), as_vector<T>(y.value()), {}};
  if (c.mode == Mode::infer) return outcome;
  const Tensor dy = as_tensor<T>(output_gradient(y.shape()), y.shape());
  perturb(dy.span<T>(), options, 0);
  if (y.grad().needed()) tape.backward(y, dy.to(options.device));
  for (const Parameter& p : parameters) outcome.gradient.push_back(as_vector<T>(p.grad));
  return outcome;
}

Plan plan_case(const OpCase& c, DType dtype, Device device, int64_t reserve_bytes) {
  const std::vector<Parameter> parameters = parameters_of(c, dtype, device);
  Arena arena(device, reserve_bytes);
  Tape tape(arena, c.mode);
  // As inside a model, gradients of inputs come from the arena when an operation first has something for
  // them.
  const Var y = c.build(tape, results_of(tape, parameters));
  if (y.grad().needed()) tape.backward(y);
  return {y.shape(), arena.peak_bytes(), arena.reserved_bytes()};
}

template <class T>
double largest(const std::vector<T>& values) {
  double most = 0;
  for (const T v : values) most = std::max(most, std::abs(static_cast<double>(v)));
  return most;
}

template <class T, class U>
double difference(const std::vector<T>& a, const std::vector<U>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i)
    most = worse(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return most;
}

Tolerance forward_tolerance(const OpCase& c, const std::vector<double>& reference) {
  double naive = difference(c.reference(values_of<float>(c)), reference);
  for (uint32_t draw = 0; !c.benchmark && draw < kDraws; ++draw) {
    Values<float> moved = values_of<float>(c);
    for (size_t i = 0; i < moved.size(); ++i)
      if (c.inputs[i].gradient != Gradient::none)
        perturb(std::span(moved[i]), {.perturb = 4 * kUlp, .draw = draw}, static_cast<uint32_t>(i));
    Values<double> same;
    for (const auto& v : moved) same.emplace_back(v.begin(), v.end());
    naive = std::max(naive, difference(c.reference(moved), c.reference(same)));
  }
  const double ulp = kUlp * largest(reference);
  return {2 * naive + ulp, kFloatToDouble * (4 * naive + 2 * ulp)};
}

std::vector<double> gradient_tolerance(const OpCase& c, const Outcome<double>& exact) {
  int64_t longest = 1;
  for (const int64_t extent : exact.shape) longest = std::max(longest, extent);
  for (const CaseInput& in : c.inputs)
    for (const int64_t extent : in.shape) longest = std::max(longest, extent);
  const double roundings = 2 * std::sqrt(static_cast<double>(longest));
  std::vector<double> tolerance(exact.gradient.size());
  for (uint32_t draw = 0; draw < kDraws; ++draw) {
    const auto moved = run_case<double>(c, {.perturb = kUlp / 2, .draw = draw});
    for (size_t i = 0; i < tolerance.size(); ++i)
      tolerance[i] = std::max(tolerance[i], roundings * difference(moved.gradient[i], exact.gradient[i]));
  }
  const double dy = largest(output_gradient(exact.shape));
  for (size_t i = 0; i < tolerance.size(); ++i) {
    tolerance[i] += kUlp * largest(exact.gradient[i]);
    if (c.inputs[i].gradient == Gradient::zero) tolerance[i] += roundings * kUlp / 2 * dy;
  }
  return tolerance;
}

template Values<float> values_of(const OpCase&);
template Values<double> values_of(const OpCase&);
template Outcome<float> run_case(const OpCase&, const RunOptions&);
template Outcome<double> run_case(const OpCase&, const RunOptions&);
template double largest(const std::vector<double>&);
template double largest(const std::vector<float>&);
template double difference(const std::vector<float>&, const std::vector<double>&);
template double difference(const std::vector<float>&, const std::vector<float>&);
template double difference(const std::vector<double>&, const std::vector<double>&);

}  // namespace moe::test
