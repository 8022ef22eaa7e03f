#pragma once
// AdamW over all parameters of a model, with the rule of the reference for experts: one that received no
// token has no gradient, and its weights, moments and step count are left alone.
//
// All that the next update depends on besides weights and gradients is in state(): for every parameter p the
// moments "p.exp_avg" and "p.exp_avg_sq", of its shape, and "p.step", i64: the updates so far of each expert
// [E], or of the whole parameter [1].

#include <string>
#include <vector>

#include "core/safetensors.h"
#include "kernels/adamw/adamw.h"
#include "kernels/grad_norm/grad_norm.h"
#include "model/moe_lm.h"

namespace moe {

struct AdamWSettings {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.01;
  double grad_clip = 0;  // largest L2 norm of the whole gradient; 0: no clipping
};

class Optimizer {
 public:
  explicit Optimizer(const MoeLm& model);

  // The L2 norm of all gradients.
  double grad_norm() const;
  // Notes which experts had tokens in a pass; to be called for every pass that the next step is made of.
  void count_tokens(const std::vector<LayerRouting>& routing);
  // One update; `norm` is grad_norm(). Clears the gradients and forgets the passes.
  void step(const AdamWSettings&, double norm);
  // Clears the gradients and forgets the passes, changing nothing else.
  void discard();
  // Back to the state before the first step.
  void reset();

  // The moments are views of this optimizer's memory, the step counts copies.
  std::vector<NamedTensor> state() const;
  // Throws ErrorKind::checkpoint, naming the tensor, unless `file` holds what state() gives, and no count is
  // negative or above `most_steps`. Nothing is changed then.
  void load(const Safetensors& file, int64_t most_steps);

 private:
  // A parameter, or the slice of it that belongs to one expert: updated as one, with its own step count.
  struct Piece {
    Tensor value, grad, m, v;
    int64_t layer;  // of the expert; -1: updated every step
    int64_t expert;
    int64_t steps = 0;        // updates so far
    bool has_tokens = false;  // in the passes of the step under way
  };
  // The pieces of one parameter.
  struct Group {
    std::string name;
    Tensor m, v;  // of the parameter's shape
    size_t first, count;
  };
  template <class T>
  std::vector<kernels::GradSegment<T>> gradients() const;
  template <class T>
  static std::vector<kernels::AdamWSegment<T>> segments(const std::vector<const Piece*>& active);

  std::vector<Piece> pieces_;
  std::vector<Group> groups_;
};

}  // namespace moe
