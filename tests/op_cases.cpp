#include "tests/op_cases.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "core/philox.h"

namespace moe::test {
namespace {

// The stream of random numbers that belongs to an input: FNV-1a of its name and shape.
RngAddress address_of(const std::string& name, const Shape& shape) {
  uint32_t hash = 2166136261u;
  for (const char c : name + shape.str()) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619u;
  return {.seed = 20, .step = 0, .stream = hash};
}

template <class Draw>
CaseInput generate(std::string name, const Shape& shape, Gradient gradient, Draw draw) {
  const RngAddress rng = address_of(name, shape);
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = draw(rng, i);
  return given(std::move(name), shape, std::move(values), gradient);
}

}  // namespace

CaseInput given(std::string name, const Shape& shape, std::vector<double> values, Gradient gradient) {
  require(static_cast<int64_t>(values.size()) == shape.numel(), "input {}: {} values for shape {}", name,
          values.size(), shape.str());
  for (double& v : values) v = static_cast<float>(v);
  return {std::move(name), shape, std::move(values), gradient};
}

CaseInput normal(std::string name, const Shape& shape, Gradient gradient, double deviation, double mean) {
  return generate(std::move(name), shape, gradient, [=](const RngAddress& rng, uint64_t i) {
    return mean + deviation * random_normal(rng, i);
  });
}

CaseInput uniform(std::string name, const Shape& shape, double low, double high, Gradient gradient) {
  return generate(std::move(name), shape, gradient, [=](const RngAddress& rng, uint64_t i) {
    return low + (high - low) * to_uniform(random_u32(rng, i));
  });
}

CaseInput spread(std::string name, const Shape& shape, double gap, Gradient gradient) {
  const RngAddress rng = address_of(name, shape);
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  const size_t columns = shape.rank() ? static_cast<size_t>(shape[-1]) : 1;
  std::vector<size_t> order(columns);
  for (size_t row = 0; columns && row < values.size() / columns; ++row) {
    std::iota(order.begin(), order.end(), size_t{0});
    const auto key = [&](size_t c) { return random_u32(rng, row * columns + c); };
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return key(a) < key(b); });
    for (size_t c = 0; c < columns; ++c) {
      const double jitter = 0.2 * to_uniform(key(c) * 2654435761u) - 0.1;
      values[row * columns + c] =
          (static_cast<double>(order[c]) - static_cast<double>(columns - 1) / 2 + 0.25 + jitter) * gap;
    }
  }
  return given(std::move(name), shape, std::move(values), gradient);
}

Tensor ints(Tape& tape, const Shape& shape, std::span<const int32_t> values) {
  if (tape.device() == Device::meta) return Tensor::empty(shape, DType::i32, Device::meta);
  if (tape.device() == Device::cpu) return Tensor::from(values, shape);
  static auto& on_device =
      *new std::map<std::vector<int32_t>, Tensor>;  // never destroyed: the GPU may be gone
  Tensor& there = on_device[{values.begin(), values.end()}];
  if (!there.defined()) there = Tensor::from(values, shape).to(tape.device());
  return there.reshape(shape);
}

const OpCases& op_cases() {
  static const OpCases all = [] {
    OpCases cases;
    add_pointwise_cases(cases);
    add_linear_cases(cases);
    add_dense_cases(cases);
    add_routing_cases(cases);
    add_dispatch_cases(cases);
    return cases;
  }();
  return all;
}

std::span<const OpWithoutGradient> ops_without_gradient() {
  static constexpr OpWithoutGradient list[] = {
      {"dispatch_plan", "[dispatch_plan]"},
      {"draw_sequences", "[draw_sequences]"},
      {"training_step", "[training_step]"},
      {"grad_norm", "[grad_norm]"},
      {"adamw", "[adamw]"},
  };
  return list;
}

}  // namespace moe::test
