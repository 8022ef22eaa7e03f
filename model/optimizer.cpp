#include "model/optimizer.h"

#include "autograd/dispatch.h"

namespace moe {
namespace {

constexpr const char* kFirstMoment = ".exp_avg";
constexpr const char* kSecondMoment = ".exp_avg_sq";
constexpr const char* kSteps = ".step";

}  // namespace

Optimizer::Optimizer(const MoeLm& model) {
  std::vector<int32_t> expert;
  const auto parameters = model.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Tensor &value = parameters[i].value, &grad = parameters[i].grad;
    const Tensor m = Tensor::zeros(value.shape(), value.dtype(), value.device());
    const Tensor v = Tensor::zeros(value.shape(), value.dtype(), value.device());
    const int64_t layer = model.expert_layer(i), first = static_cast<int64_t>(pieces_.size());
    if (layer < 0) {
      pieces_.push_back({value, grad, m, v});
      expert.push_back(-1);
    } else {
      for (int64_t e = 0; e < value.size(0); ++e) {
        pieces_.push_back({value.rows(e, e + 1), grad.rows(e, e + 1), m.rows(e, e + 1), v.rows(e, e + 1)});
        expert.push_back(static_cast<int32_t>(layer * model.config().num_experts + e));
      }
    }
    groups_.push_back({parameters[i], m, v, first, static_cast<int64_t>(pieces_.size()) - first});
  }
  const auto count = static_cast<int64_t>(pieces_.size());
  steps_ = Tensor::zeros({count}, DType::i64, model.device());
  expert_ = Tensor::from<int32_t>(expert, {count}).to(model.device());
  discard();
  if (model.device() == Device::cuda) make_tables();
}

void Optimizer::make_tables() {
  gradient_table_ = DeviceTable(gradients<float>());
  adamw_table_ = DeviceTable(segments<float>());
  constexpr auto kWords = static_cast<int64_t>(sizeof(kernels::AdamWRates) / sizeof(float));
  rates_ = Tensor::empty({static_cast<int64_t>(pieces_.size()), kWords}, DType::f32, Device::cuda);
}

template <class T>
std::vector<kernels::GradSegment<T>> Optimizer::gradients() const {
  std::vector<kernels::GradSegment<T>> all;
  all.reserve(pieces_.size());
  for (const Group& g : groups_) {
    if (g.parameter.squares()) continue;
    for (const Piece& p :
         std::span(pieces_).subspan(static_cast<size_t>(g.first), static_cast<size_t>(g.count)))
      all.push_back({p.grad.data<T>(), p.grad.numel()});
  }
  return all;
}

template <class T>
std::vector<kernels::AdamWSegment<T>> Optimizer::segments() const {
  std::vector<kernels::AdamWSegment<T>> all;
  all.reserve(pieces_.size());
  for (const Piece& p : pieces_)
    all.push_back({p.value.data<T>(), p.grad.data<T>(), p.m.data<T>(), p.v.data<T>(), p.value.numel(), 0});
  return all;
}

void Optimizer::grad_norm(const StepState& step) const {
  double squares = 0;
  for (const Group& g : groups_)
    if (const auto known = g.parameter.squares())
      squares += *known;
    else
      g.parameter.settle();
  MOE_RUN(groups_.front().parameter.grad, grad_norm,
          kernels::Gradients<T>{gradients<T>(), gradient_table_.of<kernels::GradSegment<T>>(), squares},
          &step.memory()->grad_norm);
}

void Optimizer::step(const AdamWSettings& s, const StepState& step) const {
  kernels::AdamWOptions options;
  options.beta1 = s.beta1;
  options.beta2 = s.beta2;
  options.eps = s.eps;
  options.weight_decay = s.weight_decay;
  MOE_RUN(groups_.front().parameter.grad, adamw, options,
          kernels::AdamWPieces<T>{segments<T>(), adamw_table_.of<kernels::AdamWSegment<T>>(),
                                  steps_.data<int64_t>(), expert_.data<int32_t>(),
                                  reinterpret_cast<kernels::AdamWRates*>(rates_.bytes_begin())},
          step.memory(), step.kept());
  // The GPU's kernels have cleared them.
  if (steps_.device() == Device::cpu) discard();
}

void Optimizer::discard() const {
  for (const Group& g : groups_) {
    g.parameter.forget();
    if (steps_.device() == Device::cuda) g.parameter.settle();  // the graph of a step adds
  }
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> tensors;
  for (const Group& g : groups_) {
    tensors.push_back({g.parameter.name + kFirstMoment, g.m.to(Device::cpu)});
    tensors.push_back({g.parameter.name + kSecondMoment, g.v.to(Device::cpu)});
    const Tensor steps = Tensor::empty({g.count}, DType::i64);
    steps.copy_from(steps_.rows(g.first, g.first + g.count));
    tensors.push_back({g.parameter.name + kSteps, steps});
  }
  return tensors;
}

void Optimizer::load(const Safetensors& file, int64_t most_steps) const {
  // Everything is looked at before anything is changed.
  const Tensor all_steps = Tensor::empty(steps_.shape(), DType::i64);
  for (const Group& g : groups_) {
    file.check(g.parameter.name + kFirstMoment, g.m.shape(), g.m.dtype());
    file.check(g.parameter.name + kSecondMoment, g.v.shape(), g.v.dtype());
    const Tensor steps = all_steps.rows(g.first, g.first + g.count);
    file.copy_to(g.parameter.name + kSteps, steps);
    for (const int64_t n : steps.span<int64_t>())
      if (n < 0 || n > most_steps)
        throw error(ErrorKind::checkpoint, "{}: \"{}\" counts {} updates in {} steps", file.origin(),
                    g.parameter.name + kSteps, n, most_steps);
  }
  if (file.entries().size() != 3 * groups_.size())
    throw error(ErrorKind::checkpoint, "{}: {} tensors, but this model's optimizer has {}", file.origin(),
                file.entries().size(), 3 * groups_.size());
  for (const Group& g : groups_) {
    file.copy_to(g.parameter.name + kFirstMoment, g.m);
    file.copy_to(g.parameter.name + kSecondMoment, g.v);
  }
  steps_.copy_from(all_steps);
  discard();
}

}  // namespace moe
