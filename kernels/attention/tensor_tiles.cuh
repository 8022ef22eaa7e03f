#pragma once
// What the attention kernels on tensor cores share: tiles of bf16 in shared memory, and their products.
//
// A block owns kRows rows of one side, queries or keys, 16 for each of its warps, and walks through the other
// side kOther rows at a time. A warp's part of a tile of scores is 16 x kOther; it lies in the lanes'
// registers as kernels/mma.h says of C: with g = lane / 4 and t = lane % 4, c[n][0..1] are row g, columns 8n
// + 2t and the next, and c[n][2..3] the same of row g + 8. In this order it is also what a product wants as
// its left operand (two neighbouring n are the 16 x 16 of A), so scores never leave the registers.

#include "kernels/attention/tiles.cuh"
#include "kernels/mma.h"

namespace moe::kernels::cuda::attention {

// kDim: the channels of a head, rounded up to 16, 32, 64 or 128; those that do not exist are 0.
template <int dim, int warps>
struct TensorTile {
  static constexpr int kDim = dim, kWarps = warps, kThreads = warps * kWarp;
  static constexpr int kRows = 16 * warps, kOther = 32;
  // Rows of channels in pairs. 16 bytes more than they need: eight rows of 16 bytes then lie on all banks.
  static constexpr int kPitch = (dim + 8) / 2;
  // Whether a warp's two left operands of products over the channels fit into registers in backward.
  static constexpr bool kHoldsBoth = dim <= 64;
  using Scores = float[kOther / 8][4];
  using Channels = float[dim / 8][4];
};

template <class T, int kCount>
struct alignas(16) PairRows {
  unsigned at[kCount * T::kPitch];
};

struct ScoreLane {
  int lane, warp, g, t;
  __device__ ScoreLane()
      : lane(static_cast<int>(threadIdx.x) % kWarp),
        warp(static_cast<int>(threadIdx.x) / kWarp),
        g(lane / 4),
        t(lane % 4) {}
};

// to[r][0..kDim) = row first + r in bf16; zeros for what does not exist.
template <class T, int kCount>
__device__ void load_pairs(const HeadRows& h, int64_t first, PairRows<T, kCount>& to) {
  constexpr int kPieces = T::kDim / 8;
  for (int i = threadIdx.x; i < kCount * kPieces; i += T::kThreads) {
    const int r = i / kPieces, c = i % kPieces * 8;
    const int64_t left = first + r < h.end ? h.dim - c : 0;
    const float* const from = h.x + (first + r) * h.stride + c;
    float low[4], high[4];
    load4(from, left, h.vectors, low);
    load4(from + 4, left - 4, h.vectors, high);
    *reinterpret_cast<uint4*>(&to.at[r * T::kPitch + c / 2]) =
        make_uint4(gpu::bf16_pair(low[0], low[1]), gpu::bf16_pair(low[2], low[3]),
                   gpu::bf16_pair(high[0], high[1]), gpu::bf16_pair(high[2], high[3]));
  }
}

// The warp's 16 rows of a tile as left operands of products over the channels, 16 channels a step: kept in
// registers, or fetched again by each product.
template <class T, bool kHeld>
class LeftRows {
 public:
  __device__ explicit LeftRows(const PairRows<T, T::kRows>& tile)
      : from_(&tile.at[(16 * ScoreLane().warp + ScoreLane().lane % 16) * T::kPitch +
                       ScoreLane().lane / 16 * 4]) {
    if constexpr (kHeld) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step) gpu::ldmatrix_x4(held_[step], from_ + 8 * step);
    }
  }

  __device__ void get(int step, unsigned (&a)[4]) const {
    if constexpr (kHeld) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i] = held_[step][i];
    } else {
      gpu::ldmatrix_x4(a, from_ + 8 * step);
    }
  }

 private:
  static constexpr int kSteps = T::kDim / 16;
  const unsigned* from_;
  unsigned held_[kHeld ? kSteps : 1][4];
};

// c = this warp's rows times the rows of `other`, over the channels.
template <class T, bool kHeld>
__device__ void score_products(const LeftRows<T, kHeld>& rows, const PairRows<T, T::kOther>& other,
                               typename T::Scores& c) {
  const int lane = ScoreLane().lane;
  const unsigned* const from = &other.at[(lane % 8 + lane / 16 * 8) * T::kPitch + lane / 8 % 2 * 4];
#pragma unroll
  for (int n = 0; n < T::kOther / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) c[n][e] = 0;
#pragma unroll
  for (int step = 0; step < T::kDim / 16; ++step) {
    unsigned a[4];
    rows.get(step, a);
#pragma unroll
    for (int n = 0; n < T::kOther / 8; n += 2) {
      unsigned b[4];
      gpu::ldmatrix_x4(b, from + 8 * n * T::kPitch + 8 * step);
      gpu::mma_bf16(c[n], a, {b[0], b[1]});
      gpu::mma_bf16(c[n + 1], a, {b[2], b[3]});
    }
  }
}

// sum += weight, rounded to bf16, times the rows of `other`, over those rows.
template <class T>
__device__ void add_weighted(const typename T::Scores& weight, const PairRows<T, T::kOther>& other,
                             typename T::Channels& sum) {
  const int lane = ScoreLane().lane;
  const unsigned* const from = &other.at[lane % 16 * T::kPitch + lane / 16 * 4];
#pragma unroll
  for (int n = 0; n < T::kOther / 8; n += 2) {
    const unsigned a[4] = {gpu::bf16_pair(weight[n][0], weight[n][1]),
                           gpu::bf16_pair(weight[n][2], weight[n][3]),
                           gpu::bf16_pair(weight[n + 1][0], weight[n + 1][1]),
                           gpu::bf16_pair(weight[n + 1][2], weight[n + 1][3])};
#pragma unroll
    for (int channel = 0; channel < T::kDim / 8; channel += 2) {
      unsigned b[4];
      gpu::ldmatrix_x4_trans(b, from + 8 * n * T::kPitch + 4 * channel);
      gpu::mma_bf16(sum[channel], a, {b[0], b[1]});
      gpu::mma_bf16(sum[channel + 1], a, {b[2], b[3]});
    }
  }
}

// Which of this lane's c[0..3] of a 16 x 8 part of the scores are kept, a bit each; see
// kernels/attention/attention.h. A block of the cipher has the draws of four neighbouring keys. There are 32
// such fours in the part: each lane takes one of them, and hands out what others need.
//
__device__ inline unsigned keep_bits(const AttentionShape& s, int64_t head, int64_t i, int64_t j) {
  bool keep[4];
  draw_keep(s, head, i, j, keep);
  return keep[0] | keep[1] << 1 | keep[2] << 2 | keep[3] << 3;
}
// Rows are queries from i on, columns keys from j on. A pair of lanes has four keys of rows g and g + 8.
__device__ inline unsigned keep_by_query(const AttentionShape& s, int64_t head, int64_t i, int64_t j) {
  const ScoreLane at;
  const int odd = at.t % 2;
  const unsigned mine = keep_bits(s, head, i + at.g + 8 * odd, j + at.t / 2 * 4);
  const unsigned other = __shfl_xor_sync(~0u, mine, 1);
  const unsigned upper = odd ? other : mine, lower = odd ? mine : other;
  return (upper >> 2 * odd & 3) | (lower >> 2 * odd & 3) << 2;
}
// Rows are keys from j on, columns queries from i on.
__device__ inline unsigned keep_by_key(const AttentionShape& s, int64_t head, int64_t i, int64_t j) {
  const ScoreLane at;
  // Lane 4 q + f has query q, the f-th four keys.
  const unsigned mine = keep_bits(s, head, i + at.g, j + 4 * at.t);
  unsigned bits = 0;
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const int query = 2 * at.t + e % 2, four = at.g / 4 + e / 2 * 2;
    bits |= (__shfl_sync(~0u, mine, 4 * query + four) >> at.g % 4 & 1) << e;
  }
  return bits;
}

// body(row, channel, v): every four neighbouring channels of this warp's 16 rows have one lane. Two lanes
// exchange halves of what they have of rows g and g + 8.
template <class T, class Body>
__device__ void each_four(const typename T::Channels& sum, Body body) {
  const ScoreLane at;
  const bool odd = at.t % 2;
#pragma unroll
  for (int n = 0; n < T::kDim / 8; ++n) {
    const float first = __shfl_xor_sync(~0u, odd ? sum[n][0] : sum[n][2], 1);
    const float second = __shfl_xor_sync(~0u, odd ? sum[n][1] : sum[n][3], 1);
    float v[4] = {odd ? first : sum[n][0], odd ? second : sum[n][1], odd ? sum[n][2] : first,
                  odd ? sum[n][3] : second};
    body(at.g + 8 * odd, 8 * n + at.t / 2 * 4, v);
  }
}

// with<TensorTile>() for a head's width and the rows of the side that blocks own: up to 32 of them are one
// block of two warps.
template <class With>
void with_tensor_tile(int64_t dim, int64_t rows, With with) {
  const auto of_width = [&]<int kDim>() {
    if (rows <= 32) return with.template operator()<TensorTile<kDim, 2>>();
    with.template operator()<TensorTile<kDim, 4>>();
  };
  if (dim <= 16) return of_width.template operator()<16>();
  if (dim <= 32) return of_width.template operator()<32>();
  if (dim <= 64) return of_width.template operator()<64>();
  of_width.template operator()<128>();
}

}  // namespace moe::kernels::cuda::attention
