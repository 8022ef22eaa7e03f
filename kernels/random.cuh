#pragma once
// Random numbers for CUDA kernels: the draws of core/philox.h.

#include <cstdint>

#include "core/philox.h"
#include "kernels/gpu.h"

namespace moe::kernels::cuda {

// The address with the seed and step that it has now.
__device__ inline RngAddress resolved(RngAddress rng) {
  const RngMoment moment = rng.at ? *rng.at : RngMoment{rng.seed, rng.step};
  rng.seed = moment.seed;
  rng.step = static_cast<uint32_t>(moment.step);
  return rng;
}

// Draws first .. first+3. Two blocks of the cipher, or one where `first` begins a block.
__device__ inline void draw4(const RngAddress& address, uint64_t first, uint32_t (&draw)[4]) {
  const RngAddress rng = resolved(address);
  const Philox4 a = random_block(rng, first >> 2);
  const unsigned skip = static_cast<unsigned>(first & 3);
  const Philox4 b = skip == 0 ? a : random_block(rng, (first >> 2) + 1);
  const uint32_t both[8] = {a.v[0], a.v[1], a.v[2], a.v[3], b.v[0], b.v[1], b.v[2], b.v[3]};
  // Selected, not indexed: an array with an index known only at run time would live in memory.
#pragma unroll
  for (int j = 0; j < 4; ++j)
    draw[j] = skip == 0 ? both[j] : skip == 1 ? both[j + 1] : skip == 2 ? both[j + 2] : both[j + 3];
}

}  // namespace moe::kernels::cuda
