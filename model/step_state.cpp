#include "model/step_state.h"

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "autograd/dispatch.h"

namespace moe {
namespace {

static_assert(std::is_trivially_copyable_v<StepMemory> && std::is_standard_layout_v<StepMemory>);

// A member of the StepMemory that lies in `memory`.
struct Part {
  size_t offset, bytes;
};
constexpr Part kAll{0, sizeof(StepMemory)};
constexpr Part kInputs{offsetof(StepMemory, inputs), sizeof(StepInputs)};
constexpr Part kHistory{offsetof(StepMemory, history), sizeof(LossHistory)};
constexpr Part kOutcome{offsetof(StepMemory, outcome), sizeof(StepOutcome)};

Tensor part_of(const Tensor& memory, Part part) {
  constexpr size_t kWord = sizeof(int64_t);
  return memory.rows(static_cast<int64_t>(part.offset / kWord),
                     static_cast<int64_t>((part.offset + part.bytes) / kWord));
}

template <class T>
void write(const Tensor& memory, Part part, T value) {
  const Tensor to = part_of(memory, part);
  to.copy_from(Tensor::over(&value, to.shape(), to.dtype()));
}

}  // namespace

StepState::StepState(const MoeLm& model, const StepPolicy& policy)
    : policy_(policy),
      layers_(model.config().n_layer),
      experts_(model.config().num_experts),
      memory_(Tensor::empty({static_cast<int64_t>(sizeof(StepMemory) / sizeof(int64_t))}, DType::i64,
                            model.device())),
      moments_(Tensor::empty({policy.passes, 2}, DType::i64, model.device())),
      counts_(Tensor::empty({2, layers_, experts_}, DType::i64, model.device())) {
  write(memory_, kAll, StepMemory());
}

StepMemory* StepState::memory() const {
  return reinterpret_cast<StepMemory*>(memory_.bytes_begin());
}

const int64_t* StepState::kept() const {
  return counts_.rows(1, 2).data<int64_t>();
}

void StepState::set(const StepInputs& inputs) const {
  write(memory_, kInputs, inputs);
}

void StepState::begin() const {
  auto* const moments = reinterpret_cast<RngMoment*>(moments_.bytes_begin());
  const uint32_t stream = rng_stream(Draw::micro_batch);
  MOE_RUN(moments_, step_seeds, policy_.passes, stream, &memory()->inputs, moments);
}

RngAddress StepState::address(const RngMoment& moment, uint32_t stream) const {
  if (memory_.device() == Device::cuda) return {.stream = stream, .at = &moment};
  return {moment.seed, static_cast<uint32_t>(moment.step), stream};
}

RngAddress StepState::address(Draw purpose) const {
  return address(memory()->inputs.moment, rng_stream(purpose));
}

ForwardOptions StepState::options(int64_t pass) const {
  const RngAddress address = this->address(reinterpret_cast<RngMoment*>(moments_.bytes_begin())[pass], 0);
  ForwardOptions options;
  options.seed = address.seed;
  options.step = address.step;
  options.moment = address.at;
  return options;
}

kernels::StepSettings StepState::settings(int64_t assignments) const {
  kernels::StepSettings s{};
  s.layers = layers_;
  s.experts = experts_;
  s.passes = policy_.passes;
  s.assignments = assignments;
  s.spike_bound = policy_.spike_bound;
  s.grad_clip = policy_.grad_clip;
  return s;
}

void StepState::note(int64_t pass, const Var& loss, const Var& auxiliary,
                     const std::vector<LayerRouting>& routing) const {
  using kernels::PlansOfLayers;
  const kernels::StepSettings s = settings(0);
  int64_t* const assigned = counts_.data<int64_t>();
  int64_t* const kept = counts_.rows(1, 2).data<int64_t>();
  for (int64_t first = 0; first < layers_; first += PlansOfLayers::kMost) {
    PlansOfLayers plans{};
    plans.first = first;
    plans.count = std::min<int64_t>(PlansOfLayers::kMost, layers_ - first);
    for (int64_t l = 0; l < plans.count; ++l) {
      const DispatchPlan& plan = routing[static_cast<size_t>(first + l)].plan;
      plans.offsets[l] = plan.offsets.data<int32_t>();
      plans.assigned[l] = plan.count.data<int32_t>();
    }
    MOE_RUN(loss.value(), note_pass, s, pass == 0, plans, first == 0 ? loss.value().data<T>() : nullptr,
            auxiliary.value().data<T>(), memory(), assigned, kept);
  }
}

void StepState::finish(int64_t assignments) const {
  MOE_RUN(memory_, finish_step, settings(assignments), counts_.data<int64_t>(), kept(), memory());
}

StepOutcome StepState::outcome() const {
  StepOutcome outcome;
  const Tensor from = part_of(memory_, kOutcome);
  Tensor::over(&outcome, from.shape(), from.dtype()).copy_from(from);
  return outcome;
}

void StepState::restore(const LossHistory& history) const {
  write(memory_, kHistory, history);
}

}  // namespace moe
