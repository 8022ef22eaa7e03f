#pragma once
// How many blocks a kernel needs.

#include <cstdint>

#include "kernels/gpu.h"

namespace moe::kernels::cuda {

inline constexpr int kWarp = 32;

// `items`, `each` to a block; 0 for none.
inline unsigned blocks_for(int64_t items, int64_t each) {
  return static_cast<unsigned>((items + each - 1) / each);
}

// This thread's index over the whole grid, x alone.
__device__ inline int64_t global_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

}  // namespace moe::kernels::cuda
