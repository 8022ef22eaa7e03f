#pragma once
// How many blocks a kernel needs.

#include <algorithm>
#include <cstdint>

#include "kernels/gpu.h"

namespace moe::kernels::cuda {

inline constexpr int kWarp = 32;

// `items`, `each` to a block; 0 for none.
inline unsigned blocks_for(int64_t items, int64_t each) {
  return static_cast<unsigned>((items + each - 1) / each);
}

// Items a run, a block each: at least `least`, and more of so many that there would be more than `most` runs.
inline int64_t run_length(int64_t items, int64_t least, int64_t most) {
  return std::max(least, (items + most - 1) / most);
}

// This thread's index over the whole grid, x alone, and its warp's.
__device__ inline int64_t global_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline int64_t global_warp() {
  return global_thread() / kWarp;
}

// body(c, left) for every fourth column c of a row that this lane of its warp has: columns c .. c+3, of which
// `left` exist. A warp reads 128 neighbouring columns at once.
template <class Body>
__device__ void each_piece(int64_t dim, Body body) {
  for (int64_t c = 4 * (threadIdx.x % kWarp); c < dim; c += 4 * kWarp) body(c, dim - c);
}

}  // namespace moe::kernels::cuda
