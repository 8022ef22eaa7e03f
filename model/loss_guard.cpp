#include "model/loss_guard.h"

#include <algorithm>
#include <cmath>

namespace moe {
namespace {

constexpr int64_t kWindow = 100;
constexpr double kLeastDeviation = 0.02;

}  // namespace

double LossGuard::zscore(double loss) const {
  return (loss - state_.mean) / std::max(std::sqrt(state_.variance), kLeastDeviation);
}

Verdict LossGuard::judge(const StepStats& stats) {
  state_.finite = stats.finite();
  const bool spike = state_.finite && zscore_ > 0 && state_.losses >= kWindow && zscore(stats.loss) > zscore_;
  if (!state_.finite || spike) {
    ++state_.skipped;
    return spike ? Verdict::spike : Verdict::not_finite;
  }
  state_.skipped = 0;
  ++state_.losses;
  // The plain mean and variance of the first losses, then an exponential one (West 1979).
  const double weight = 1.0 / static_cast<double>(std::min(state_.losses, kWindow));
  const double difference = stats.loss - state_.mean;
  state_.mean += weight * difference;
  state_.variance = (1 - weight) * (state_.variance + weight * difference * difference);
  return Verdict::good;
}

}  // namespace moe
