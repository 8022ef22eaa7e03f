// Forward: a block takes a run of assignments, and its warps one expert after the other: a warp owns the
// run's sum for its expert, and looks through all of the run. One block adds up the runs in order. Backward:
// a thread owns four elements of dgate. Forward reads an assignment E times, from the first-level cache.

#include "kernels/elementwise.cuh"
#include "kernels/importance_loss/importance_loss.h"
#include "kernels/routing/expert_sums.cuh"

namespace moe::kernels::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int64_t kRun = 1024;  // assignments a block, at least

__global__ void __launch_bounds__(kThreads)
    importance_kernel(int64_t assignments, int64_t run, int64_t experts, const float* gate,
                      const int32_t* expert, double* partial) {
  const int64_t begin = blockIdx.x * run, end = begin + run < assignments ? begin + run : assignments;
  const int lane = threadIdx.x % kWarp;
  for (int64_t e = threadIdx.x / kWarp; e < experts; e += kWarps) {
    double sum = 0;
    for (int64_t a = begin + lane; a < end; a += kWarp)
      if (expert[a] == e) sum += static_cast<double>(gate[a]);
    sum = group_sum(sum);
    if (lane == 0) partial[blockIdx.x * experts + e] = sum;
  }
}

struct AddSlope {
  int64_t n, experts;
  const int32_t* expert;
  const float *slope, *dloss;
  __device__ void operator()(int64_t i, const float (&in)[1][4], float (&dgate)[1][4]) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int32_t e = i + j < n ? expert[i + j] : -1;
      dgate[0][j] = e >= 0 && e < experts ? in[0][j] + *dloss * slope[e] : in[0][j];
    }
  }
};

}  // namespace

void importance_loss_forward(ImportanceShape s, const float* gate, const int32_t* expert, float* loss,
                             float* slope, Stream stream) {
  const int64_t R = s.tokens * s.topk, run = run_length(R, kRun, kSumBlocks);
  const unsigned blocks = blocks_for(R, run);
  double* const partial = scratch<double>(std::max(1u, blocks) * s.experts, stream);
  gpu::launch<importance_kernel>({blocks, kThreads, 0, stream}, R, run, s.experts, gate, expert, partial);
  cv_squared(blocks, s.experts, partial, loss, slope, stream);
}

void importance_loss_backward(ImportanceShape s, const int32_t* expert, const float* slope,
                              const float* dloss, float* dgate, Stream stream) {
  if (!dgate) return;
  const int64_t R = s.tokens * s.topk;
  elementwise<1, 1>(R, {{dgate}}, {{dgate}}, AddSlope{R, s.experts, expert, slope, dloss}, stream);
}

}  // namespace moe::kernels::cuda
