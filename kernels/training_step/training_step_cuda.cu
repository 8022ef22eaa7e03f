// A few numbers each: one block, a thread to each layer and expert in turn.

#include "kernels/reduce.cuh"
#include "kernels/training_step/training_step.h"

namespace moe::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// A thread owns a pass.
__global__ void __launch_bounds__(kThreads)
    step_seeds_kernel(int64_t passes, uint32_t stream, const StepInputs* inputs, RngMoment* moments) {
  const int64_t p = global_thread();
  if (p < passes) moments[p] = kernels::detail::moment_of_pass(inputs->moment, stream, p);
}

template <class T>
__device__ void add(bool first, T& sum, T x) {
  sum = first ? x : sum + x;
}

__global__ void __launch_bounds__(kThreads)
    note_pass_kernel(StepSettings s, bool first, PlansOfLayers plans, const float* loss,
                     const float* auxiliary, StepMemory* memory, int64_t* assigned, int64_t* kept) {
  if (threadIdx.x == 0 && loss) {
    add(first, memory->loss, static_cast<double>(*loss));
    add(first, memory->auxiliary, auxiliary ? static_cast<double>(*auxiliary) : 0.0);
  }
  for (int64_t i = threadIdx.x; i < plans.count * s.experts; i += kThreads) {
    const int64_t l = i / s.experts, e = i % s.experts, to = plans.first * s.experts + i;
    const int32_t* const offsets = plans.offsets[l];
    add(first, assigned[to], int64_t{plans.assigned[l][e]});
    add(first, kept[to], int64_t{offsets[e + 1]} - offsets[e]);
  }
}

// A warp takes one layer after the other; the busiest one's load is the largest over the warps.
__global__ void __launch_bounds__(kThreads)
    finish_step_kernel(StepSettings s, const int64_t* assigned, const int64_t* kept, StepMemory* memory) {
  constexpr int kWarps = kThreads / kWarp;
  SHARED(busiest, double[kWarps]);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  double most_over_mean = 0;
  for (int64_t l = warp; l < s.layers; l += kWarps) {
    int64_t all = 0, most = 0;
    for (int64_t e = lane; e < s.experts; e += kWarp) {
      const int64_t here = assigned[l * s.experts + e];
      all += here;
      most = here > most ? here : most;
    }
    all = group_sum(all);
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      const int64_t other = __shfl_xor_sync(~0u, most, offset);
      most = other > most ? other : most;
    }
    const double load =
        static_cast<double>(most) / (static_cast<double>(all) / static_cast<double>(s.experts));
    most_over_mean = load > most_over_mean ? load : most_over_mean;
  }
  if (lane == 0) busiest[warp] = most_over_mean;
  int64_t sum = 0;
  for (int64_t i = threadIdx.x; i < s.layers * s.experts; i += kThreads) sum += kept[i];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kWarps; ++w) most_over_mean = busiest[w] > most_over_mean ? busiest[w] : most_over_mean;
  kernels::detail::decide_step(s, sum, most_over_mean, *memory);
}

}  // namespace

void step_seeds(int64_t passes, uint32_t stream_of_seeds, const StepInputs* inputs, RngMoment* moments,
                Stream stream) {
  gpu::launch<step_seeds_kernel>({blocks_for(passes, kThreads), kThreads, 0, stream}, passes, stream_of_seeds,
                                 inputs, moments);
}

void note_pass(const StepSettings& s, bool first, const PlansOfLayers& plans, const float* loss,
               const float* auxiliary, StepMemory* memory, int64_t* assigned, int64_t* kept, Stream stream) {
  gpu::launch<note_pass_kernel>({1, kThreads, 0, stream}, s, first, plans, loss, auxiliary, memory, assigned,
                                kept);
}

void finish_step(const StepSettings& s, const int64_t* assigned, const int64_t* kept, StepMemory* memory,
                 Stream stream) {
  gpu::launch<finish_step_kernel>({1, kThreads, 0, stream}, s, assigned, kept, memory);
}

}  // namespace moe::kernels::cuda
