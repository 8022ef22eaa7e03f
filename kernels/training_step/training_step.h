#pragma once
// What a training step sums up and decides besides its arithmetic, in memory of the device that computes it:
// so the host need not wait for a step to know whether it may be made.
//
//   step_seeds     seed and step for the draws of each pass: moments[0] = inputs.moment, of the others
//                  moments[p] = {random_u64({moment.seed, moment.step, stream}, p), moment.step}
//   note_pass      adds up, over the passes, the losses and for every layer and expert
//                  assigned[l,e] += count[e]    kept[l,e] += offsets[e+1] - offsets[e]    of layer l's plan
//   finish_step    the outcome of the step from these sums and the gradient's norm: means, loads, whether the
//                  step may be made (loss_guard.h), and grad_scale = min(1, grad_clip / norm)

#include <cstdint>

#include "core/device.h"
#include "core/philox.h"
#include "kernels/training_step/loss_guard.h"

namespace moe::kernels {

// What the host says before a step: all that differs from the step before.
struct StepInputs {
  RngMoment moment;
  double learning_rate = 0;
};

// What the host hears of a step.
struct StepOutcome {
  double loss = 0;               // cross-entropy of the step's batches, nats a token
  double auxiliary = 0;          // weighted auxiliary losses, summed over layers; mean over the batches
  double grad_norm = 0;          // before clipping
  double busiest_over_mean = 0;  // assignments of the busiest expert over the mean, largest over layers
  double dropped_share = 0;      // of all assignments
  double deviations = 0;         // of the loss above those before
  Verdict verdict = Verdict::good;
  LossHistory history;    // this step included
  double grad_scale = 1;  // for clipping
};

struct StepMemory {
  StepInputs inputs;
  double loss = 0, auxiliary = 0;  // sums over the passes so far
  double grad_norm = 0;
  LossHistory history;
  StepOutcome outcome;
};

struct StepSettings {
  int64_t layers, experts;
  int64_t passes;       // of a step
  int64_t assignments;  // asked for in a step, all layers and passes together
  double spike_bound;   // of judge()
  double grad_clip;     // largest norm of the gradient; 0: no clipping
};

// The plans of some neighbouring layers, see kernels/dispatch_plan/dispatch_plan.h.
struct PlansOfLayers {
  static constexpr int kMost = 32;
  int64_t first = 0;  // layer
  int64_t count = 0;
  const int32_t* offsets[kMost];
  const int32_t* assigned[kMost];
};

namespace cpu {

void step_seeds(int64_t passes, uint32_t stream, const StepInputs*, RngMoment* moments);
// first: this pass begins the sums. loss [1] goes with the first layers, else nullptr; auxiliary [1] or
// nullptr.
template <class T>
void note_pass(const StepSettings&, bool first, const PlansOfLayers&, const T* loss, const T* auxiliary,
               StepMemory*, int64_t* assigned, int64_t* kept);
void finish_step(const StepSettings&, const int64_t* assigned, const int64_t* kept, StepMemory*);

}  // namespace cpu

namespace cuda {

void step_seeds(int64_t passes, uint32_t stream, const StepInputs*, RngMoment* moments, Stream);
void note_pass(const StepSettings&, bool first, const PlansOfLayers&, const float* loss,
               const float* auxiliary, StepMemory*, int64_t* assigned, int64_t* kept, Stream);
void finish_step(const StepSettings&, const int64_t* assigned, const int64_t* kept, StepMemory*, Stream);

}  // namespace cuda

namespace detail {

// The seed and step of pass p.
MOE_HOST_DEVICE inline RngMoment moment_of_pass(const RngMoment& step, uint32_t stream, int64_t p) {
  if (p == 0) return step;
  const RngAddress address{step.seed, static_cast<uint32_t>(step.step), stream};
  return {random_u64(address, static_cast<uint64_t>(p)), step.step};
}

// Without a sign when it is no number, for those who read it.
MOE_HOST_DEVICE inline double unsigned_nan(double x) {
  return x == x ? x : fabs(x);
}

// The outcome from sums over all layers: kept assignments, and the busiest expert's load over the mean.
MOE_HOST_DEVICE inline void decide_step(const StepSettings& s, int64_t kept, double busiest, StepMemory& m) {
  StepOutcome& o = m.outcome;
  const auto passes = static_cast<double>(s.passes);
  o.loss = unsigned_nan(m.loss) / passes;
  o.auxiliary = unsigned_nan(m.auxiliary) / passes;
  o.grad_norm = fabs(m.grad_norm);
  o.busiest_over_mean = busiest;
  o.dropped_share = 1.0 - static_cast<double>(kept) / static_cast<double>(s.assignments);
  o.deviations = deviations_above(m.history, o.loss);
  const double all = o.loss + o.auxiliary;
  o.verdict = judge(m.history, s.spike_bound, o.loss, all - all == 0 && o.grad_norm - o.grad_norm == 0);
  o.history = m.history;
  o.grad_scale = s.grad_clip > 0 && o.grad_norm > s.grad_clip ? s.grad_clip / o.grad_norm : 1.0;
}

}  // namespace detail
}  // namespace moe::kernels
