#pragma once
// AdamW over all parameters of a model, on the model's device, with the rule of the reference for experts:
// one that received no token has no gradient, and its weights, moments and step count are left alone.
//
// All that the next update depends on besides weights and gradients is in state(): for every parameter p the
// moments "p.exp_avg" and "p.exp_avg_sq", of its shape, and "p.step", i64: the updates so far of each expert
// [E], or of the whole parameter [1].

#include <string>
#include <vector>

#include "core/safetensors.h"
#include "kernels/adamw/adamw.h"
#include "kernels/grad_norm/grad_norm.h"
#include "model/device_table.h"
#include "model/moe_lm.h"
#include "model/step_state.h"

namespace moe {

struct AdamWSettings {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.01;
};

class Optimizer {
 public:
  // Forgets the model's gradients.
  explicit Optimizer(const MoeLm& model);

  // The L2 norm of all gradients, into the memory of the step. What backward has summed already is not read
  // again; what is forgotten becomes zero.
  void grad_norm(const StepState&) const;
  // One update, with the learning rate of the step's inputs and the clipping of its outcome; none when the
  // outcome says so. To be called after grad_norm. Gradients are forgotten, or on the GPU zero, afterwards.
  void step(const AdamWSettings&, const StepState&) const;
  // Forgets the gradients, changing nothing else.
  void discard() const;

  // In host memory. On the CPU the moments are views of this optimizer's memory; all else are copies.
  std::vector<NamedTensor> state() const;
  // Throws ErrorKind::checkpoint, naming the tensor, unless `file` holds what state() gives, and no count is
  // negative or above `most_steps`. Nothing is changed then.
  void load(const Safetensors& file, int64_t most_steps) const;

 private:
  // A parameter, or the slice of it that belongs to one expert: updated as one, with its own step count.
  struct Piece {
    Tensor value, grad, m, v;
  };
  // The pieces of one parameter.
  struct Group {
    Parameter parameter;
    Tensor m, v;  // of the parameter's shape
    int64_t first, count;
  };
  template <class T>
  std::vector<kernels::GradSegment<T>> gradients() const;  // those whose squares backward has not summed
  template <class T>
  std::vector<kernels::AdamWSegment<T>> segments() const;
  void make_tables();

  std::vector<Piece> pieces_;
  std::vector<Group> groups_;
  Tensor steps_;   // i64 [pieces]: updates so far
  Tensor expert_;  // i32 [pieces]: layer * E + expert, or -1 for what is updated every step
  // On the GPU, and what AdamW works with there.
  DeviceTable gradient_table_, adamw_table_;
  Tensor rates_;
};

}  // namespace moe
