#pragma once
// Tells a step that must not be made: one whose loss or gradient is not finite, or whose loss lies far above
// those of the steps before.
//
// The running mean and deviation weigh a loss n steps back by about 0.99^n, and only the losses of steps that
// were made. A loss is too high when it is more than `zscore` deviations above the mean. Nothing is too high
// within the first 100 steps, and deviations below 0.02 nats count as 0.02, so that a loss that hardly moves
// any more makes no alarms.

#include <cstdint>

#include "model/trainer.h"

namespace moe {

enum class Verdict { good, not_finite, spike };

class LossGuard {
 public:
  // What it remembers; saved with a run.
  struct State {
    double mean = 0, variance = 0;  // of the losses, in nats
    int64_t losses = 0;             // seen
    int64_t skipped = 0;            // steps in a row, up to now
    bool finite = true;             // the last loss and gradient

    bool operator==(const State&) const = default;
  };

  // zscore 0: no finite loss is too high.
  explicit LossGuard(double zscore) : zscore_(zscore) {}

  // Judges a step and remembers it.
  Verdict judge(const StepStats&);
  // How many deviations above the mean the loss lies.
  double zscore(double loss) const;

  const State& state() const { return state_; }
  void restore(const State& state) { state_ = state; }

 private:
  double zscore_;
  State state_;
};

}  // namespace moe
