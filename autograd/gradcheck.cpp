#include "autograd/gradcheck.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/philox.h"

namespace moe {
namespace {

enum DrawStream : uint32_t { kProjection, kChoice };

// r: a random sign times a number in [0.5, 1.5], so that no output goes unseen.
Tensor random_projection(const Shape& shape, uint64_t seed) {
  Tensor r = Tensor::empty(shape, DType::f64);
  uint64_t index = 0;
  for (double& v : r.span<double>()) {
    const uint32_t draw = random_u32({.seed = seed, .stream = kProjection}, index++);
    v = (draw & 1 ? 1.0 : -1.0) * (0.5 + to_uniform(draw));
  }
  return r;
}

class Check {
 public:
  Check(const GradcheckFunction& f, std::span<const Parameter> inputs, const GradcheckOptions& options)
      : f_(f), inputs_(inputs), options_(options), arena_(Device::cpu) {
    for (const Parameter& p : inputs) variables_.push_back(Var::parameter(p));
  }

  GradcheckResult run() {
    require(std::ranges::any_of(inputs_, [](const Parameter& p) { return p.grad.defined(); }),
            "gradcheck: no input has a gradient");
    run_backward();
    for (const Parameter& p : inputs_)
      if (p.grad.defined()) check_input(p);
    for (const std::string& name : options_.zero)
      if (std::ranges::find(result_.zero, name) == result_.zero.end()) result_.unexpected.push_back(name);
    result_.ok = result_.unexpected.empty() && result_.worst.error <= 1;
    return result_;
  }

 private:
  void run_backward() {
    for (const Parameter& p : inputs_) {
      p.forget();
      p.settle();
    }
    Tape tape(arena_, Mode::train);
    const Var y = f_(tape, variables_);
    require(y.dtype() == DType::f64, "gradcheck: the function must return f64, got {}", name_of(y.dtype()));
    r_ = random_projection(y.shape(), options_.seed);
    // Without a record of any input the analytic gradient is zero, and the comparison will tell.
    if (y.grad().needed()) tape.backward(y, r_);
  }

  Tensor evaluate() {
    Tape tape(arena_, Mode::train);
    const Tensor y = f_(tape, variables_).value();
    require(y.shape() == r_.shape(), "gradcheck: the function returned {}, then {}", r_.shape(), y.shape());
    return y;
  }

  // r . (f(x + h) - f(x - h)) / 2h. The difference is taken element by element, before the sum: outputs that
  // do not depend on x then add no rounding error.
  double numeric(double& x) {
    const double kept = x;
    const double h = options_.eps * std::max(1.0, std::abs(kept));
    x = kept + h;
    const double above = x;
    const Tensor y1 = evaluate();
    x = kept - h;
    const double below = x;
    const Tensor y0 = evaluate();
    x = kept;
    double sum = 0;
    const auto a = y1.span<double>(), b = y0.span<double>(), r = r_.span<double>();
    for (size_t i = 0; i < r.size(); ++i) sum += r[i] * (a[i] - b[i]);
    return sum / (above - below);
  }

  std::vector<int64_t> choose(std::span<const double> gradient, uint64_t input) const {
    const auto n = static_cast<int64_t>(gradient.size());
    const int64_t wanted = options_.max_elements > 0 ? std::min(options_.max_elements, n) : n;
    std::vector<int64_t> chosen;
    for (int64_t i = 0; i < wanted; ++i) {
      const int64_t begin = i * n / wanted, end = (i + 1) * n / wanted;
      const uint64_t draw =
          random_u32({.seed = options_.seed, .stream = kChoice}, (input << 32) + static_cast<uint64_t>(i));
      chosen.push_back(begin + static_cast<int64_t>(draw % static_cast<uint64_t>(end - begin)));
    }
    if (wanted < n) {
      const auto largest =
          std::ranges::max_element(gradient, [](double a, double b) { return std::abs(a) < std::abs(b); });
      chosen.push_back(largest - gradient.begin());
    }
    return chosen;
  }

  void check_input(const Parameter& p) {
    const auto value = p.value.span<double>(), gradient = p.grad.span<double>();
    bool zero = std::ranges::all_of(gradient, [&](double g) { return std::abs(g) <= options_.atol; });
    for (const int64_t i : choose(gradient, static_cast<uint64_t>(&p - inputs_.data()))) {
      const double a = gradient[static_cast<size_t>(i)], n = numeric(value[static_cast<size_t>(i)]);
      const double error = std::abs(a - n) / (options_.atol + options_.rtol * std::abs(n));
      zero = zero && std::abs(n) <= options_.atol;
      ++result_.checked;
      if (!(error <= result_.worst.error) && !std::isnan(result_.worst.error))
        result_.worst = {p.name, i, a, n, error};
    }
    if (!zero) return;
    result_.zero.push_back(p.name);
    const bool empty = value.empty() || r_.numel() == 0;  // then there is nothing that could be wrong
    if (!empty && std::ranges::find(options_.zero, p.name) == options_.zero.end())
      result_.unexpected.push_back(p.name);
  }

  const GradcheckFunction& f_;
  std::span<const Parameter> inputs_;
  const GradcheckOptions& options_;
  Arena arena_;
  std::vector<Var> variables_;
  Tensor r_;
  GradcheckResult result_;
};

}  // namespace

std::string GradcheckResult::str() const {
  std::string s = fmt::format("gradcheck {}: {} elements", ok ? "passed" : "FAILED", checked);
  if (checked)
    s += fmt::format(", worst {}[{}]: analytic {:.9g}, numeric {:.9g} ({:.2g} of what is allowed)",
                     worst.input, worst.index, worst.analytic, worst.numeric, worst.error);
  if (!zero.empty()) s += fmt::format("; zero everywhere: {}", fmt::join(zero, ", "));
  if (!unexpected.empty())
    s += fmt::format("; zero or not zero, unexpectedly: {}", fmt::join(unexpected, ", "));
  return s;
}

GradcheckResult gradcheck(const GradcheckFunction& f, std::span<const Parameter> inputs,
                          const GradcheckOptions& options) {
  for (const Parameter& p : inputs) {
    if (p.value.dtype() != DType::f64 || p.value.device() != Device::cpu)
      throw error(ErrorKind::usage, "gradcheck: input {} must be f64 on the cpu, got {} on {}", p.name,
                  name_of(p.value.dtype()), name_of(p.value.device()));
  }
  return Check(f, inputs, options).run();
}

}  // namespace moe
