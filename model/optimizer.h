#pragma once
// AdamW over all parameters of a model, with the rule of the reference for experts: one that received no
// token has no gradient, and its weights, moments and step count are left alone.

#include <vector>

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
  // One update; `norm` is grad_norm(), and `routing` of the same step says which experts had tokens. Clears
  // the gradients.
  void step(const AdamWSettings&, double norm, const std::vector<LayerRouting>& routing);

 private:
  // A parameter, or the slice of it that belongs to one expert: updated as one, with its own step count.
  struct Piece {
    Tensor value, grad, m, v;
    int64_t layer;  // of the expert; -1: updated every step
    int64_t expert;
    int64_t steps;  // updates so far
  };
  template <class T>
  std::vector<kernels::GradSegment<T>> gradients() const;
  template <class T>
  static std::vector<kernels::AdamWSegment<T>> segments(const std::vector<const Piece*>& active);

  std::vector<Piece> pieces_;
};

}  // namespace moe
