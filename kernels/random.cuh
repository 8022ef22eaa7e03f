#pragma once
// Random numbers for CUDA kernels: the draws of core/philox.h.

#include <cstdint>

#include "core/philox.h"
#include "kernels/drop_rule.h"
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

// keep[j]: whether dropout keeps element first + j, which takes that draw.
__device__ inline void keep4(const DropRule& rule, const RngAddress& rng, int64_t first, bool (&keep)[4]) {
  uint32_t draw[4];
  draw4(rng, static_cast<uint64_t>(first), draw);
#pragma unroll
  for (int j = 0; j < 4; ++j) keep[j] = draw[j] >= rule.threshold;
}
// v = dropout of v, given what it keeps.
__device__ inline void drop(const DropRule& rule, const bool (&keep)[4], float (&v)[4]) {
  const float scale = static_cast<float>(rule.scale);
#pragma unroll
  for (int j = 0; j < 4; ++j) v[j] = keep[j] ? v[j] * scale : 0.0f;
}
// v = dropout of the elements first .. first+3.
__device__ inline void drop4(const DropRule& rule, const RngAddress& rng, int64_t first, float (&v)[4]) {
  bool keep[4];
  keep4(rule, rng, first, keep);
  drop(rule, keep, v);
}

}  // namespace moe::kernels::cuda
