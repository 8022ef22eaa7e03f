#pragma once
// Sums and maxima over a group of lanes and over a block, in a fixed tree: the same bits every time.

#include <cstdint>

#include "kernels/grid.cuh"

namespace moe::kernels::cuda {

// Over groups of kGroup neighbouring lanes; every lane gets the result. All lanes of the warp must call.
template <int kGroup = kWarp, class T>
__device__ T group_sum(T x) {
#pragma unroll
  for (int offset = kGroup / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(~0u, x, offset);
  return x;
}

template <int kGroup = kWarp>
__device__ inline float group_max(float x) {
#pragma unroll
  for (int offset = kGroup / 2; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(~0u, x, offset);
    x = other > x ? other : x;
  }
  return x;
}

// Of this lane and those before it in the warp. All lanes must call.
template <class T>
__device__ T sum_until_lane(T x) {
#pragma unroll
  for (unsigned offset = 1; offset < kWarp; offset *= 2) {
    const T before = __shfl_up_sync(~0u, x, offset);
    if (threadIdx.x % kWarp >= offset) x += before;
  }
  return x;
}

// Over a block of kThreads, a multiple of 32 up to 1024; every thread gets the result. All threads must call.
template <int kThreads, class T>
__device__ T block_sum(T x) {
  static_assert(kThreads % kWarp == 0 && kThreads <= kWarp * kWarp);
  SHARED(partial, T[kThreads / kWarp]);
  x = group_sum(x);
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = x;
  __syncthreads();
  T sum = 0;
#pragma unroll
  for (int w = 0; w < kThreads / kWarp; ++w) sum += partial[w];
  __syncthreads();  // before the next call writes
  return sum;
}

}  // namespace moe::kernels::cuda
