#pragma once
// One training run: batches, steps, evaluations. It prints nothing and writes no files; the application does.

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <utility>

#include "model/data.h"
#include "model/gpu_steps.h"
#include "model/losses.h"
#include "model/moe_lm.h"
#include "model/optimizer.h"
#include "model/step_state.h"

namespace moe {

// Bytes a run takes. Activations are the exact peak of the step arena, found by running one step and one
// evaluation on Device::meta.
struct MemoryPlan {
  int64_t parameters = 0, gradients = 0, optimizer = 0, activations = 0;
  int64_t total() const { return parameters + gradients + optimizer + activations; }
};
// Of a run on `device`. Throws ErrorKind::resource, saying how much is needed, when it cannot fit into
// `available` bytes.
MemoryPlan plan_memory(const ModelConfig&, const TrainConfig&, int64_t available, Device device);

struct StepStats : StepOutcome {
  int64_t step = 0;
  double seconds = 0;  // that it took

  bool finite() const;  // loss, auxiliary losses and gradient
};

// What a look at a step's routing sees: one of its batches, in host memory. Valid during the call.
struct RoutingView {
  int64_t step, batch;   // batch: of config.accumulate
  const Tensor& tokens;  // i32 [B, T]
  const std::vector<LayerRouting>& routing;
};

struct EvalStats {
  double train = 0, validation = 0;  // mean cross-entropy, nats a token
};

// On the GPU a steady step makes no wait and no allocation, and is one launch of a graph: model/gpu_steps.h.
// There the calling thread's precision (core/device.h) counts, as it is when the second step is entered.
class Trainer {
 public:
  // The model must have been initialised. Keeps references to all three. Computes on the model's device.
  Trainer(const MoeLm&, const TrainConfig&, const Corpus&, const MemoryPlan&);

  // Enters a step: the gradient, which is the mean over config.accumulate batches of batch_size sequences,
  // those of one batch as large as all of them, each with noise and dropout of its own; a judgement of loss
  // and gradient (kernels/training_step/loss_guard.h); AdamW with the step's learning rate, unless the
  // judgement was bad: then weights and moments stay as they are. On the CPU it is done when this returns, on
  // the GPU some time later.
  void enter(int64_t step);
  // What became of the oldest step that was not asked for, once it is done; `wait` waits for it. Nothing when
  // there is none.
  std::optional<StepStats> next(bool wait);
  // enter, and wait for it. Throws ErrorKind::diverged when the loss or the gradient is not finite. To be
  // called when no other step is under way.
  StepStats step(int64_t step);

  // The two halves of a step, for those who look between them: Parameter::settle before a gradient is read.
  // What follows the first must be update or discard.
  StepStats compute_gradients(int64_t step);
  void update();
  // Takes the gradient away; weights and moments stay as they are.
  void discard();

  // What the judgement of the next step compares with.
  void remember(const LossHistory&);

  // From here on steps draw other batches, noise and dropout: those of this attempt. Attempt 0 is the first.
  void set_attempt(int64_t attempt);
  // Is shown every batch's routing after its backward pass, on the GPU that of every kLookInterval-th step:
  // there a look waits for the step, which then is no graph. Costs nothing when there is none.
  static constexpr int64_t kLookInterval = 32;
  void observe(std::function<void(const RoutingView&)> observer) { observer_ = std::move(observer); }
  Optimizer& optimizer() { return optimizer_; }

  // The loss of that step's batch with dropout and noise as in training, changing nothing.
  double peek_loss(int64_t step);
  // The mean loss over eval_iters * batch_size sequences of each split, or with eval_full over every token of
  // the validation split but its first.
  // `stop`, when given, is asked between passes; once it says yes the evaluation is given up, its losses NaN.
  EvalStats evaluate(int64_t step, const std::function<bool()>& stop = {});

  const Arena& arena() const { return arena_; }
  // Gives the memory of activations back to the system, where no graph refers to it. The next step or
  // evaluation takes it anew.
  void release_activations();

 private:
  // On which all that the trainer launches goes: on the GPU that of its steps.
  Stream stream() const;
  StepInputs inputs(int64_t step) const;
  // All of a step that is launched before the update: the same work each time, since what differs lies in
  // state_. `look`: the observer sees it.
  void launch_gradients(int64_t step, bool look);
  void launch_update();
  // Fills tokens_ and targets_ for a pass of the step that state_ was told; what it returns seeds the pass's
  // noise and dropout.
  ForwardOptions draw_batch(int64_t pass);
  double evaluate_split(const Tensor& ids, int64_t step, bool validation, const std::function<bool()>& stop);
  double evaluate_all(const Tensor& ids, int64_t step, const std::function<bool()>& stop);
  // The mean loss of one evaluation pass; `pass` seeds its noise, where noise is on.
  double evaluate_pass(const Tensor& tokens, const Tensor& targets, int64_t step, bool validation,
                       int64_t pass);

  const MoeLm& model_;
  const TrainConfig& config_;
  std::optional<GpuSteps> gpu_;  // on Device::cuda
  Tensor train_ids_, validation_ids_;
  Arena arena_;
  StepState state_;
  Optimizer optimizer_;
  uint64_t draw_seed_;  // of batches, noise and dropout
  std::function<void(const RoutingView&)> observer_;
  Tensor share_;  // [1], 1 / accumulate: the weight of a batch in the step's loss; undefined when it is 1
  Tensor tokens_, targets_;            // [B, T]
  Tensor eval_tokens_, eval_targets_;  // [sequences of one evaluation pass, T]
  std::deque<StepStats> done_;         // on the CPU: steps that were not asked for
};

}  // namespace moe
