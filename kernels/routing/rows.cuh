#pragma once
// What the router's kernels share on the GPU: a group of lanes handles one token's row of E numbers, lane l
// its elements l, l + kGroup, ...; each lane reads back only what it wrote itself.

#include <algorithm>
#include <climits>
#include <cmath>

#include "core/cuda_memory.h"
#include "kernels/gating/gating.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/random.cuh"
#include "kernels/reduce.cuh"

namespace moe::kernels::cuda {

inline constexpr int kRouterThreads = 128;  // a block, at most

// Where a thread of a grid over tokens stands. Lanes without a token stay: all lanes take part in shuffles.
template <int kGroup>
struct RouterPlace {
  int64_t token;   // of the whole grid
  int slot, lane;  // the group within the block, the lane within the group
  __device__ explicit RouterPlace(int64_t first = 0)
      : slot(static_cast<int>(threadIdx.x) / kGroup), lane(static_cast<int>(threadIdx.x) % kGroup) {
    token = first + slot;
  }
};

// with<kGroup>() for rows of E numbers: short rows share a warp.
template <class With>
void with_group(int64_t experts, With with) {
  if (experts <= 16)
    with.template operator()<8>();
  else
    with.template operator()<kWarp>();
}

// Tokens a block handles at once when each needs `width` floats of shared memory, and the block `more` bytes.
// Throws when not even one fits.
inline int64_t tokens_per_block(int group, int64_t width, int64_t more = 0) {
  constexpr int64_t kShared = 48 << 10;  // what every GPU gives without being asked
  const int64_t fit = (kShared - more) / static_cast<int64_t>(sizeof(float)) / std::max<int64_t>(1, width);
  if (fit < kWarp / group) moe::cuda::refuse("router: so many experts do not fit into a GPU's shared memory");
  return std::min<int64_t>(fit, kRouterThreads / group);
}

// What the choice is made from: logits[i] + normal[i] * softplus(noise_logits[i]), or logits[i] without
// noise; NaN becomes -infinity. Draws the normal first where it is not recorded. The same roundings as on the
// CPU: no fused multiply-add, since a last bit can decide.
__device__ inline float selection(const float* logits, const RouterNoise<float>& noise, int64_t i,
                                  bool draw) {
  float x = logits[i];
  if (noise.noise_logits) {
    float normal;
    if (draw && !noise.recorded)
      noise.drawn[i] = normal =
          static_cast<float>(random_normal(resolved(noise.rng), static_cast<uint64_t>(i)));
    else
      normal = noise.normal()[i];
    x += normal * Softplus::value(noise.noise_logits[i]);
  }
  return x == x ? x : -INFINITY;
}

struct Choice {
  float h;
  int32_t expert;
};
inline __device__ Choice before_all() {
  return {INFINITY, -1};
}
// The order of choice: the larger first, of equal ones the lower expert.
__device__ inline bool precedes(Choice a, Choice b) {
  return a.h > b.h || (a.h == b.h && a.expert < b.expert);
}

// The group's first choice behind `last`; every lane gets it. `count` may be 0, then it means nothing.
template <int kGroup>
__device__ Choice next_choice(const float* h, int64_t count, int lane, Choice last) {
  Choice best{-INFINITY, INT_MAX};
  for (int64_t e = lane; e < count; e += kGroup) {
    const Choice c{h[e], static_cast<int32_t>(e)};
    if (precedes(last, c) && precedes(c, best)) best = c;
  }
#pragma unroll
  for (int offset = kGroup / 2; offset > 0; offset /= 2) {
    const Choice other{__shfl_xor_sync(~0u, best.h, offset), __shfl_xor_sync(~0u, best.expert, offset)};
    if (precedes(other, best)) best = other;
  }
  return best;
}

// The largest of a row and the sum of exponentials relative to it; every lane of the group gets both.
struct RowExponentials {
  float most, sum;
};
template <int kGroup>
__device__ RowExponentials row_exponentials(const float* x, int64_t count, int lane) {
  float most = -INFINITY, sum = 0;
  for (int64_t e = lane; e < count; e += kGroup) most = x[e] > most ? x[e] : most;
  most = group_max<kGroup>(most);
  for (int64_t e = lane; e < count; e += kGroup) sum += expf(x[e] - most);
  return {most, group_sum<kGroup>(sum)};
}

}  // namespace moe::kernels::cuda
