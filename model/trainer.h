#pragma once
// One training run: batches, steps, evaluations. It prints nothing and writes no files; the application does.

#include <cstdint>
#include <functional>

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
  double loss = 0;               // cross-entropy of the batch, nats a token
  double auxiliary = 0;          // weighted auxiliary losses, summed over layers
  double grad_norm = 0;          // before clipping
  double busiest_over_mean = 0;  // assignments of the busiest expert over the mean, largest over layers
  double dropped_share = 0;      // of all assignments
};

struct EvalStats {
  double train = 0, validation = 0;  // mean cross-entropy, nats a token
};

class Trainer {
 public:
  // The model must have been initialised. Keeps references to all three.
  Trainer(const MoeLm&, const TrainConfig&, const Corpus&, const MemoryPlan&);

  // Steps must run in order from 0. Throws ErrorKind::diverged when the loss or the gradient is not finite;
  // the weights are then still those before the step.
  StepStats step(int64_t step);
  // The loss of that step's batch with dropout and noise as in training, changing nothing.
  double peek_loss(int64_t step);
  // The mean loss over eval_iters * batch_size sequences of each split.
  // `stop`, when given, is asked between passes; once it says yes the evaluation is given up, its losses NaN.
  EvalStats evaluate(int64_t step, const std::function<bool()>& stop = {});

  const Arena& arena() const { return arena_; }

 private:
  // Fills tokens_ and targets_; what it returns seeds the step's noise and dropout.
  ForwardOptions draw_batch(int64_t step);
  double evaluate_split(std::span<const int32_t> ids, int64_t step, bool validation,
                        const std::function<bool()>& stop);

  const MoeLm& model_;
  const TrainConfig& config_;
  const Corpus& corpus_;
  Arena arena_;
  Optimizer optimizer_;
  Tensor tokens_, targets_;            // [B, T]
  Tensor eval_tokens_, eval_targets_;  // [sequences of one evaluation pass, T]
};

}  // namespace moe
