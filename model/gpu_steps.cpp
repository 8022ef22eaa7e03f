#include "model/gpu_steps.h"

#ifdef MOE_WITH_CUDA

#include <cstring>

#include "core/cuda_memory.h"

namespace moe {

GpuSteps::GpuSteps() : stream_(cuda::make_stream()) {
  for (Flight& f : flights_)
    f = {cuda::make_pinned(sizeof(kernels::StepInputs)), cuda::make_pinned(sizeof(kernels::StepOutcome)),
         cuda::make_event(), cuda::make_event()};
}

void GpuSteps::enter(const kernels::StepInputs& inputs, kernels::StepMemory* memory, bool directly,
                     const std::function<void()>& work) {
  if (entered_ - landed_ == kMostAhead) land();
  Flight& f = flights_[static_cast<size_t>(entered_ % kMostAhead)];
  f.step = static_cast<int64_t>(inputs.moment.step);
  std::memcpy(f.inputs.get(), &inputs, sizeof inputs);
  if (warm_ && !directly && !graph_) graph_ = cuda::capture(stream(), work);
  cuda::record(f.begin, stream());
  cuda::enter_copy_to_device(&memory->inputs, f.inputs.get(), sizeof inputs, stream());
  if (graph_ && !directly)
    cuda::launch(graph_, stream());
  else
    work();
  cuda::enter_copy_to_host(f.outcome.get(), &memory->outcome, sizeof memory->outcome, stream());
  cuda::record(f.end, stream());
  warm_ = true;
  ++entered_;
}

std::optional<GpuSteps::Done> GpuSteps::next(bool wait) {
  if (done_.empty()) {
    if (landed_ == entered_) return {};
    const Flight& oldest = flights_[static_cast<size_t>(landed_ % kMostAhead)];
    if (!wait && !cuda::is_over(oldest.end)) return {};
    land();
  }
  const Done first = done_.front();
  done_.pop_front();
  return first;
}

void GpuSteps::land() {
  const Flight& f = flights_[static_cast<size_t>(landed_ % kMostAhead)];
  if (!cuda::is_over(f.end)) cuda::wait_for(f.end);
  const auto* const outcome = reinterpret_cast<const kernels::StepOutcome*>(f.outcome.get());
  done_.push_back({f.step, *outcome, cuda::seconds_between(f.begin, f.end)});
  ++landed_;
}

}  // namespace moe

#endif
