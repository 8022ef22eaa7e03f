#pragma once
// What a training step is told, sums up and decides, in memory of the model's device: kernels/training_step.
// On the GPU nothing of it passes through the host.

#include <vector>

#include "kernels/training_step/training_step.h"
#include "model/layers.h"
#include "model/moe_lm.h"

namespace moe {

using kernels::LossHistory;
using kernels::StepInputs;
using kernels::StepMemory;
using kernels::StepOutcome;
using kernels::Verdict;

struct StepPolicy {
  int64_t passes = 1;      // of a step
  double spike_bound = 0;  // deviations above the mean beyond which a loss is too high; 0: none is
  double grad_clip = 0;    // largest L2 norm of the whole gradient; 0: no clipping
};

class StepState {
 public:
  StepState(const MoeLm&, const StepPolicy&);

  // The device's. What the inputs say holds for all that is launched from then on.
  StepMemory* memory() const;
  void set(const StepInputs&) const;

  // Makes the seeds of the passes from the inputs.
  void begin() const;
  // Where the step draws for that purpose.
  RngAddress address(Draw purpose) const;
  // Of a pass: seed and step of its noise and dropout.
  ForwardOptions options(int64_t pass) const;
  // Adds a pass: its losses [1], the second of which may be undefined, and where its tokens went.
  void note(int64_t pass, const Var& loss, const Var& auxiliary, const std::vector<LayerRouting>&) const;
  // The outcome, from the passes and memory()->grad_norm. assignments: asked for by all layers and passes.
  void finish(int64_t assignments) const;
  // [layers, experts] assignments that were kept in the step's passes.
  const int64_t* kept() const;

  // These two wait for the device.
  StepOutcome outcome() const;
  void restore(const LossHistory&) const;

 private:
  kernels::StepSettings settings(int64_t assignments) const;
  // Of a moment in memory of the device.
  RngAddress address(const RngMoment&, uint32_t stream) const;

  StepPolicy policy_;
  int64_t layers_, experts_;
  Tensor memory_;   // a StepMemory
  Tensor moments_;  // [passes] RngMoment
  Tensor counts_;   // i64 [2, layers, experts]: assigned, kept
};

}  // namespace moe
