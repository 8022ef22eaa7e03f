#pragma once
// Sums over many tokens for each of E experts, in two stages: blocks write partial sums [blocks, width],
// double, and one last block adds them up in order.

#include "kernels/routing/rows.cuh"
#include "kernels/scratch.cuh"

namespace moe::kernels::cuda {

inline constexpr int kFinalThreads = 256;  // of the last block
inline constexpr int64_t kSumBlocks = 64;  // of the first stage, at most

// The sums over tokens of rows of `width` numbers. A block takes `run` tokens, as many at once as it has
// groups, whose rows lie side by side in shared memory: fill(token, lane, row) writes lane's elements of a
// token's row. Thread t then adds columns t, t + blockDim.x, ... to the block's sums. Dynamic shared memory:
// width doubles, then the rows.
template <int kGroup, class Fill>
__device__ void sum_rows(int64_t tokens, int64_t run, int64_t width, double* partial, Fill fill) {
  DYNAMIC_SHARED(double, sums);
  float* const rows = reinterpret_cast<float*>(sums + width);
  const int threads = static_cast<int>(blockDim.x), groups = threads / kGroup;
  const int64_t begin = blockIdx.x * run, end = begin + run < tokens ? begin + run : tokens;
  for (int64_t e = threadIdx.x; e < width; e += threads) sums[e] = 0;
  for (int64_t first = begin; first < end; first += groups) {
    const RouterPlace<kGroup> at(first);
    fill(at.token, at.token < end, at.lane, rows + at.slot * width);
    __syncthreads();
    const int64_t present = end - first < groups ? end - first : groups;
    for (int64_t e = threadIdx.x; e < width; e += threads)
      for (int64_t n = 0; n < present; ++n) sums[e] += static_cast<double>(rows[n * width + e]);
    __syncthreads();
  }
  for (int64_t e = threadIdx.x; e < width; e += threads) partial[blockIdx.x * width + e] = sums[e];
}

// How sum_rows is launched.
struct RowSums {
  gpu::LaunchConfig config;
  int64_t run;      // tokens a block
  int64_t blocks;   // rows of partial sums, 0 without tokens
  double* partial;  // [blocks, width]
};
inline RowSums row_sums(int64_t tokens, int64_t width, int group, Stream stream) {
  const int64_t sums = width * static_cast<int64_t>(sizeof(double));
  const int64_t at_once = tokens_per_block(group, width, sums);
  const int64_t run = std::max(at_once, (tokens + kSumBlocks - 1) / kSumBlocks);
  const unsigned blocks = blocks_for(tokens, run);
  return {{blocks, static_cast<unsigned>(at_once * group),
           static_cast<size_t>(sums + at_once * width * static_cast<int64_t>(sizeof(float))), stream},
          run,
          int64_t{blocks},
          scratch<double>(std::max<int64_t>(1, blocks) * width, stream)};
}

// Column `e` of the partial sums, in the order of the blocks.
__device__ inline double partial_sum(const double* partial, int64_t blocks, int64_t width, int64_t e) {
  double sum = 0;
  for (int64_t b = 0; b < blocks; ++b) sum += partial[b * width + e];
  return sum;
}

// The squared coefficient of variation of E sums, see kernels/routing/cv_squared.h. partial has at least one
// row, whose elements receive the sums; thread t owns sums t, t + kThreads, ... One block.
template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    cv_squared_kernel(int64_t blocks, int64_t experts, double* partial, float* loss, float* slope) {
  const double count = static_cast<double>(experts);
  double sum = 0, squares = 0;
  for (int64_t e = threadIdx.x; e < experts; e += kThreads)
    sum += partial[e] = partial_sum(partial, blocks, experts, e);
  const double mean = block_sum<kThreads>(sum) / count;
  for (int64_t e = threadIdx.x; e < experts; e += kThreads)
    squares += (partial[e] - mean) * (partial[e] - mean);
  const double scale = mean * mean + 1e-10, cv2 = block_sum<kThreads>(squares) / count / scale;
  for (int64_t e = threadIdx.x; e < experts; e += kThreads)
    slope[e] = static_cast<float>(2 / count * (partial[e] - mean - cv2 * mean) / scale);
  if (threadIdx.x == 0) *loss = static_cast<float>(cv2);
}

inline void cv_squared(int64_t blocks, int64_t experts, double* partial, float* loss, float* slope,
                       Stream stream) {
  gpu::launch<cv_squared_kernel<kFinalThreads>>({1, kFinalThreads, 0, stream}, blocks, experts, partial, loss,
                                                slope);
}

}  // namespace moe::kernels::cuda
