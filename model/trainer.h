#pragma once
// One training run: batches, steps, evaluations. It prints nothing and writes no files; the application does.

#include <cstdint>
#include <functional>
#include <utility>

#include "model/data.h"
#include "model/losses.h"
#include "model/moe_lm.h"
#include "model/optimizer.h"

namespace moe {

// Bytes a run takes. Activations are the exact peak of the step arena, found by running one step and one
// evaluation on Device::meta.
struct MemoryPlan {
  int64_t parameters = 0, gradients = 0, optimizer = 0, activations = 0;
  int64_t total() const { return parameters + gradients + optimizer + activations; }
};
// Throws ErrorKind::resource, saying how much is needed, when the run cannot fit into `available` bytes.
MemoryPlan plan_memory(const ModelConfig&, const TrainConfig&, int64_t available);

struct StepStats {
  double loss = 0;               // cross-entropy of the step's batches, nats a token
  double auxiliary = 0;          // weighted auxiliary losses, summed over layers; mean over the batches
  double grad_norm = 0;          // before clipping
  double busiest_over_mean = 0;  // assignments of the busiest expert over the mean, largest over layers
  double dropped_share = 0;      // of all assignments

  bool finite() const;  // loss, auxiliary losses and gradient
};

// What a look at a step's routing sees: one of its batches. Valid during the call.
struct RoutingView {
  int64_t step, batch;   // batch: of config.accumulate
  const Tensor& tokens;  // i32 [B, T]
  const std::vector<LayerRouting>& routing;
};

struct EvalStats {
  double train = 0, validation = 0;  // mean cross-entropy, nats a token
};

class Trainer {
 public:
  // The model must have been initialised. Keeps references to all three.
  Trainer(const MoeLm&, const TrainConfig&, const Corpus&, const MemoryPlan&);

  // The gradient of the step: the mean over config.accumulate batches of batch_size sequences, which are
  // those of one batch as large as all of them; each has noise and dropout of its own. What follows must be
  // update or discard. Losses may be infinite or NaN.
  StepStats compute_gradients(int64_t step);
  // AdamW with the learning rate of the step.
  void update(int64_t step, const StepStats&);
  // Takes the gradient away; weights and moments stay as they are.
  void discard() { optimizer_.discard(); }
  // compute_gradients and update. Throws ErrorKind::diverged when the loss or the gradient is not finite; the
  // weights are then still those before the step.
  StepStats step(int64_t step);

  // From here on steps draw other batches, noise and dropout: those of this attempt. Attempt 0 is the first.
  void set_attempt(int64_t attempt);
  // Is shown every batch's routing after its backward pass; costs nothing when there is none.
  void observe(std::function<void(const RoutingView&)> observer) { observer_ = std::move(observer); }
  Optimizer& optimizer() { return optimizer_; }

  // The loss of that step's batch with dropout and noise as in training, changing nothing.
  double peek_loss(int64_t step);
  // The mean loss over eval_iters * batch_size sequences of each split, or with eval_full over every token of
  // the validation split but its first.
  // `stop`, when given, is asked between passes; once it says yes the evaluation is given up, its losses NaN.
  EvalStats evaluate(int64_t step, const std::function<bool()>& stop = {});

  const Arena& arena() const { return arena_; }

 private:
  // Fills tokens_ and targets_; what it returns seeds the noise and dropout of the step's batch.
  ForwardOptions draw_batch(int64_t step, int64_t batch);
  double evaluate_split(std::span<const int32_t> ids, int64_t step, bool validation,
                        const std::function<bool()>& stop);
  double evaluate_all(std::span<const int32_t> ids, int64_t step, const std::function<bool()>& stop);
  // The mean loss of one evaluation pass; `pass` seeds its noise, where noise is on.
  double evaluate_pass(const Tensor& tokens, const Tensor& targets, int64_t step, bool validation,
                       int64_t pass);

  const MoeLm& model_;
  const TrainConfig& config_;
  const Corpus& corpus_;
  Arena arena_;
  Optimizer optimizer_;
  uint64_t draw_seed_;  // of batches, noise and dropout
  std::function<void(const RoutingView&)> observer_;
  Tensor share_;  // [1], 1 / accumulate: the weight of a batch in the step's loss; undefined when it is 1
  Tensor tokens_, targets_;            // [B, T]
  Tensor eval_tokens_, eval_targets_;  // [sequences of one evaluation pass, T]
};

}  // namespace moe
