#pragma once
// Tells a step that must not be made: one whose loss or gradient is not finite, or whose loss lies far above
// those of the steps before. Plain functions on numbers, for both devices.
//
// The running mean and deviation weigh a loss n steps back by about 0.99^n, and only the losses of steps that
// were made. A loss is too high when it is more than a bound of deviations above the mean. Nothing is too
// high within the first 100 steps, and deviations below 0.02 nats count as 0.02, so that a loss that hardly
// moves any more makes no alarms.

#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace moe::kernels {

enum class Verdict : int32_t { good, not_finite, spike };

// What is remembered of the losses of a run, and saved with it.
struct LossHistory {
  double mean = 0, variance = 0;  // in nats
  int64_t losses = 0;             // seen
  int64_t skipped = 0;            // steps in a row, up to now
  bool finite = true;             // the last loss and gradient

  bool operator==(const LossHistory&) const = default;
};

namespace detail {

inline constexpr int64_t kLossWindow = 100;
inline constexpr double kLeastDeviation = 0.02;

}  // namespace detail

// How many deviations above the mean the loss lies.
MOE_HOST_DEVICE inline double deviations_above(const LossHistory& h, double loss) {
  const double deviation = sqrt(h.variance);
  return (loss - h.mean) / (deviation > detail::kLeastDeviation ? deviation : detail::kLeastDeviation);
}

// Judges a step and remembers it. `finite`: loss and gradient. bound: in deviations; 0: no finite loss is too
// high.
MOE_HOST_DEVICE inline Verdict judge(LossHistory& h, double bound, double loss, bool finite) {
  h.finite = finite;
  const bool spike =
      finite && bound > 0 && h.losses >= detail::kLossWindow && deviations_above(h, loss) > bound;
  if (!finite || spike) {
    ++h.skipped;
    return spike ? Verdict::spike : Verdict::not_finite;
  }
  h.skipped = 0;
  ++h.losses;
  // The plain mean and variance of the first losses, then an exponential one (West 1979).
  const double weight =
      1.0 / static_cast<double>(h.losses < detail::kLossWindow ? h.losses : detail::kLossWindow);
  const double difference = loss - h.mean;
  h.mean += weight * difference;
  h.variance = (1 - weight) * (h.variance + weight * difference * difference);
  return Verdict::good;
}

}  // namespace moe::kernels
