#include "model/optimizer.h"

#include "autograd/dispatch.h"

namespace moe {
namespace {

constexpr const char* kFirstMoment = ".exp_avg";
constexpr const char* kSecondMoment = ".exp_avg_sq";
constexpr const char* kSteps = ".step";

}  // namespace

Optimizer::Optimizer(const MoeLm& model) {
  const auto parameters = model.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Tensor &value = parameters[i].value, &grad = parameters[i].grad;
    const Tensor m = Tensor::zeros(value.shape(), value.dtype(), value.device());
    const Tensor v = Tensor::zeros(value.shape(), value.dtype(), value.device());
    const int64_t layer = model.expert_layer(i);
    const size_t first = pieces_.size();
    if (layer < 0)
      pieces_.push_back({value, grad, m, v, layer, 0});
    else
      for (int64_t e = 0; e < value.size(0); ++e)
        pieces_.push_back(
            {value.rows(e, e + 1), grad.rows(e, e + 1), m.rows(e, e + 1), v.rows(e, e + 1), layer, e});
    groups_.push_back({parameters[i].name, m, v, first, pieces_.size() - first});
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

void Optimizer::count_tokens(const std::vector<LayerRouting>& routing) {
  for (Piece& p : pieces_) {
    if (p.layer < 0) continue;
    const auto offsets = routing[static_cast<size_t>(p.layer)].plan.offsets.span<int32_t>();
    const auto e = static_cast<size_t>(p.expert);
    p.has_tokens |= offsets[e + 1] > offsets[e];
  }
}

void Optimizer::step(const AdamWSettings& s, double norm) {
  kernels::AdamWOptions options;
  options.lr = s.learning_rate;
  options.beta1 = s.beta1;
  options.beta2 = s.beta2;
  options.eps = s.eps;
  options.weight_decay = s.weight_decay;
  options.grad_scale = s.grad_clip > 0 && norm > s.grad_clip ? s.grad_clip / norm : 1.0;
  std::vector<const Piece*> active;
  for (Piece& p : pieces_) {
    if (p.layer >= 0 && !p.has_tokens) continue;
    p.has_tokens = false;
    ++p.steps;
    active.push_back(&p);
  }
  const Tensor& any = pieces_.front().value;
  MOE_RUN(any, adamw, options, std::span<const kernels::AdamWSegment<T>>(segments<T>(active)));
}

void Optimizer::discard() {
  for (Piece& p : pieces_) {
    p.grad.fill_zero();
    p.has_tokens = false;
  }
}

void Optimizer::reset() {
  discard();
  for (Piece& p : pieces_) {
    p.m.fill_zero();
    p.v.fill_zero();
    p.steps = 0;
  }
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> tensors;
  for (const Group& g : groups_) {
    const Tensor steps = Tensor::empty({static_cast<int64_t>(g.count)}, DType::i64);
    for (size_t i = 0; i < g.count; ++i) steps.data<int64_t>()[i] = pieces_[g.first + i].steps;
    tensors.push_back({g.name + kFirstMoment, g.m});
    tensors.push_back({g.name + kSecondMoment, g.v});
    tensors.push_back({g.name + kSteps, steps});
  }
  return tensors;
}

void Optimizer::load(const Safetensors& file, int64_t most_steps) {
  // Everything is looked at before anything is changed.
  const std::vector<NamedTensor> wanted = state();
  for (const NamedTensor& t : wanted) {
    file.check(t.name, t.tensor.shape(), t.tensor.dtype());
    if (t.tensor.dtype() != DType::i64) continue;
    file.copy_to(t.name, t.tensor);
    for (const int64_t steps : t.tensor.span<int64_t>())
      if (steps < 0 || steps > most_steps)
        throw error(ErrorKind::checkpoint, "{}: \"{}\" counts {} updates in {} steps", file.origin(), t.name,
                    steps, most_steps);
  }
  if (file.entries().size() != wanted.size())
    throw error(ErrorKind::checkpoint, "{}: {} tensors, but this model's optimizer has {}", file.origin(),
                file.entries().size(), wanted.size());
  for (size_t i = 0; i < groups_.size(); ++i) {
    const Group& g = groups_[i];
    file.copy_to(g.name + kFirstMoment, g.m);
    file.copy_to(g.name + kSecondMoment, g.v);
    const auto steps = wanted[3 * i + 2].tensor.span<int64_t>();
    for (size_t j = 0; j < g.count; ++j) pieces_[g.first + j].steps = steps[j];
  }
  discard();
}

}  // namespace moe
