#pragma once
// The last stage of a loss: out = sum of N values / max(1, N), by one block, in double and in a fixed tree.

#include "core/device.h"
#include "kernels/reduce.cuh"

namespace moe::kernels::cuda {

inline constexpr int kMeanThreads = 512;

// value(n) in double.
template <class Value>
__global__ void __launch_bounds__(kMeanThreads) mean_kernel(int64_t n, Value value, float* out) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kMeanThreads) sum += value(i);
  sum = block_sum<kMeanThreads>(sum);
  if (threadIdx.x == 0) *out = static_cast<float>(sum / static_cast<double>(n > 0 ? n : 1));
}

template <class Value>
void mean_of(int64_t n, Value value, float* out, Stream stream) {
  gpu::launch<mean_kernel<Value>>({1, kMeanThreads, 0, stream}, n, value, out);
}

}  // namespace moe::kernels::cuda
