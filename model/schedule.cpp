#include "model/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace moe {
namespace {

// How far `step` is on the way from `first` to the last step of the run, in [0, 1].
double progress(const TrainConfig& t, int64_t first, int64_t step) {
  if (step <= first) return 0;
  return std::min(1.0, static_cast<double>(step - first) /
                           static_cast<double>(std::max<int64_t>(t.max_iters - 1 - first, 1)));
}

// Both ends exactly.
double between(double a, double b, double x) {
  return (1 - x) * a + x * b;
}

}  // namespace

double learning_rate_at(const TrainConfig& t, int64_t step) {
  const double high = t.learning_rate, low = t.min_learning_rate;
  if (step < t.warmup_iters)
    return high * static_cast<double>(step + 1) / static_cast<double>(t.warmup_iters + 1);
  switch (t.schedule) {
    case Schedule::constant:
      break;
    case Schedule::linear:
      return between(high, low, progress(t, t.warmup_iters, step));
    case Schedule::cosine:
      return low + (high - low) * (1 + std::cos(std::numbers::pi * progress(t, t.warmup_iters, step))) / 2;
    case Schedule::wsd: {
      const int64_t decay = t.decay_iters > 0 ? t.decay_iters : std::max<int64_t>(t.max_iters / 10, 1);
      return between(high, low, progress(t, std::max(t.warmup_iters, t.max_iters - 1 - decay), step));
    }
  }
  return high;
}

}  // namespace moe
