#pragma once
// Training steps on a GPU: the host runs ahead of them, waits for none, and hears of each later. For builds
// with CUDA kernels (kWithCuda).
//
// A step is: its inputs to the GPU, 24 bytes from pinned memory; the work, launched as one graph; the outcome
// back to pinned memory. The first step launches its kernels one by one, so that cuBLAS is loaded and working
// memory has its size; the second one is recorded as the graph that it and all later ones are.

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>

#include "core/cuda_graph.h"
#include "kernels/training_step/training_step.h"

namespace moe {

class GpuSteps {
 public:
  // So many steps at most are under way: enough that the GPU never waits for the host, few enough that a run
  // stops soon when it is asked to. With so many, entering another one waits for the oldest.
  static constexpr int64_t kMostAhead = 8;

  struct Done {
    int64_t step;
    kernels::StepOutcome outcome;
    double seconds;  // on the GPU
  };

  GpuSteps();

  // To be made the thread's own while anything is launched for the steps.
  Stream stream() const { return stream_.get(); }

  // Enters a step whose numbers lie in `memory`. `work` launches it. directly: one by one, not as a graph,
  // for work that differs from that of other steps, or waits.
  void enter(const kernels::StepInputs&, kernels::StepMemory* memory, bool directly,
             const std::function<void()>& work);

  // The oldest step not yet asked for, when it is over; `wait` waits for it. Nothing when none is under way.
  std::optional<Done> next(bool wait);

 private:
  struct Flight {
    cuda::PinnedMemory inputs, outcome;
    cuda::Event begin, end;
    int64_t step = 0;
  };
  void land();  // waits for the oldest one

  cuda::OwnedStream stream_;
  std::array<Flight, kMostAhead> flights_;
  int64_t entered_ = 0, landed_ = 0;
  std::deque<Done> done_;
  cuda::Graph graph_;
  bool warm_ = false;  // a step was launched kernel by kernel
};

}  // namespace moe
