#include "model/optimizer.h"

#include "autograd/dispatch.h"

namespace moe {

Optimizer::Optimizer(const MoeLm& model) {
  const auto parameters = model.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Tensor &value = parameters[i].value, &grad = parameters[i].grad;
    const Tensor m = Tensor::zeros(value.shape(), value.dtype(), value.device());
    const Tensor v = Tensor::zeros(value.shape(), value.dtype(), value.device());
    const int64_t layer = model.expert_layer(i);
    if (layer < 0) {
      pieces_.push_back({value, grad, m, v, layer, 0, 0});
      continue;
    }
    for (int64_t e = 0; e < value.size(0); ++e)
      pieces_.push_back(
          {value.rows(e, e + 1), grad.rows(e, e + 1), m.rows(e, e + 1), v.rows(e, e + 1), layer, e, 0});
  }
}

template <class T>
std::vector<kernels::GradSegment<T>> Optimizer::gradients() const {
  std::vector<kernels::GradSegment<T>> segments;
  for (const Piece& p : pieces_) segments.push_back({p.grad.data<T>(), p.grad.numel()});
  return segments;
}

template <class T>
std::vector<kernels::AdamWSegment<T>> Optimizer::segments(const std::vector<const Piece*>& active) {
  std::vector<kernels::AdamWSegment<T>> all;
  all.reserve(active.size());
  for (const Piece* p : active)
    all.push_back(
        {p->value.data<T>(), p->grad.data<T>(), p->m.data<T>(), p->v.data<T>(), p->value.numel(), p->steps});
  return all;
}

double Optimizer::grad_norm() const {
  double norm = 0;
  const Tensor& any = pieces_.front().value;
  MOE_RUN(any, grad_norm, std::span<const kernels::GradSegment<T>>(gradients<T>()), &norm);
  return norm;
}

void Optimizer::step(const AdamWSettings& s, double norm, const std::vector<LayerRouting>& routing) {
  kernels::AdamWOptions options;
  options.lr = s.learning_rate;
  options.beta1 = s.beta1;
  options.beta2 = s.beta2;
  options.eps = s.eps;
  options.weight_decay = s.weight_decay;
  options.grad_scale = s.grad_clip > 0 && norm > s.grad_clip ? s.grad_clip / norm : 1.0;
  const auto has_tokens = [&](const Piece& p) {
    if (p.layer < 0) return true;
    const auto offsets = routing[static_cast<size_t>(p.layer)].plan.offsets.span<int32_t>();
    const auto e = static_cast<size_t>(p.expert);
    return offsets[e + 1] > offsets[e];
  };
  std::vector<const Piece*> active;
  for (Piece& p : pieces_) {
    if (!has_tokens(p)) continue;
    ++p.steps;
    active.push_back(&p);
  }
  const Tensor& any = pieces_.front().value;
  MOE_RUN(any, adamw, options, std::span<const kernels::AdamWSegment<T>>(segments<T>(active)));
}

}  // namespace moe
