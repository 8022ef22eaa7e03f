#pragma once
// What the attention kernels share: tiles of queries and keys in shared memory, and the products over the
// channels.
//
// A block has four warps. A tile of scores, kQueries x kKeys, is cut by queries over the warps; within a warp
// lane (y, x) of 4 x 8 owns kRows neighbouring queries and kColumns neighbouring keys:
//
//   queries row() .. row()+kRows-1, kRows = kQueries / 16     keys kColumns * x .., kColumns = kKeys / 8
//
// Results with one column a channel (y, dq, dk, dv) are cut over the lanes in the same way: kRows rows, and
// of the channels every eighth group of kWidth = 4 (2 when heads have 16): kWidth * x + 8 * kWidth * chunk.

#include "kernels/attention/attention.h"
#include "kernels/random.cuh"
#include "kernels/reduce.cuh"
#include "kernels/vectors.cuh"

namespace moe::kernels::cuda::attention {

inline constexpr int kThreads = 128, kWarps = kThreads / kWarp, kLanesX = 8, kLanesY = 4;

// kDim: the channels of a head, rounded up to 16, 32, 64 or 128; those that do not exist are 0.
template <int dim, int queries, int keys>
struct Tile {
  static constexpr int kDim = dim, kQueries = queries, kKeys = keys;
  static constexpr int kRows = kQueries / (kWarps * kLanesY), kColumns = kKeys / kLanesX;
  static constexpr int kPitch = kDim + 4;  // of rows of channels, floats: eight rows then lie on all banks
  static constexpr int kScorePitch = kKeys + 4;  // of rows of scores
  static constexpr int kWidth = kDim >= 32 ? 4 : 2, kChunks = kDim / (kLanesX * kWidth);
  static_assert(kRows >= 1 && kColumns % 2 == 0 && kColumns <= 4 && kChunks >= 1);

  // Where key `key` of a tile is stored, so that the eight lanes of a row, which read keys kColumns apart,
  // read neighbouring rows.
  static __device__ constexpr int place(int key) { return key % kColumns * kLanesX + key / kColumns; }
};

struct Lane {
  int warp, x, y;
  __device__ Lane()
      : warp(static_cast<int>(threadIdx.x) / kWarp),
        x(static_cast<int>(threadIdx.x) % kLanesX),
        y(static_cast<int>(threadIdx.x) % kWarp / kLanesX) {}
  // The first of `rows` rows of this lane.
  __device__ int row(int rows) const { return (warp * kLanesY + y) * rows; }
};

// One head of one sequence in an array whose rows are positions.
struct HeadRows {
  const float* x;       // of position 0
  int64_t stride, end;  // rows 0 .. end-1 exist
  int dim;
  bool vectors;
};

// What the kernels of backward are given; kernels/attention/attention.h.
struct BackwardArguments {
  AttentionShape s;
  bool vectors;
  const float *qkv, *y, *lse, *dy;
  Into<float> dqkv;
};

// to[place(r)][0..kDim) = factor * row first + r, for kCount rows; zeros for what does not exist.
template <class T, int kCount, bool kPlaced>
__device__ void load_rows(const HeadRows& h, int64_t first, float factor, float* to) {
  constexpr int kPieces = T::kDim / 4;
  for (int i = threadIdx.x; i < kCount * kPieces; i += kThreads) {
    const int r = i / kPieces, c = i % kPieces * 4;
    float v[4];
    load4(h.x + (first + r) * h.stride + c, first + r < h.end ? h.dim - c : 0, h.vectors, v);
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] *= factor;
    store4(to + (kPlaced ? T::place(r) : r) * T::kPitch + c, 4, true, v);
  }
}

// s[r][c] = query row(r) . key c of this lane, the channels in rising order.
template <class T>
__device__ void products(const Lane& lane, const float* queries, const float* keys,
                         float (&s)[T::kRows][T::kColumns]) {
#pragma unroll
  for (int r = 0; r < T::kRows; ++r)
#pragma unroll
    for (int c = 0; c < T::kColumns; ++c) s[r][c] = 0;
  queries += lane.row(T::kRows) * T::kPitch;
  keys += lane.x * T::kPitch;
#pragma unroll 4
  for (int d = 0; d < T::kDim; d += 4) {
    float q[T::kRows][4], k[T::kColumns][4];
#pragma unroll
    for (int r = 0; r < T::kRows; ++r) load4(queries + r * T::kPitch + d, 4, true, q[r]);
#pragma unroll
    for (int c = 0; c < T::kColumns; ++c) load4(keys + c * kLanesX * T::kPitch + d, 4, true, k[c]);
#pragma unroll
    for (int r = 0; r < T::kRows; ++r)
#pragma unroll
      for (int c = 0; c < T::kColumns; ++c)
#pragma unroll
        for (int j = 0; j < 4; ++j) s[r][c] = fmaf(q[r][j], k[c][j], s[r][c]);
  }
}

// This lane's channels of a row: v[chunk][j] is channel kWidth * x + 8 * kWidth * chunk + j.
template <class T>
__device__ void load_channels(const Lane& lane, const float* row, float (&v)[T::kChunks][T::kWidth]) {
#pragma unroll
  for (int chunk = 0; chunk < T::kChunks; ++chunk) {
    const float* const from = row + T::kWidth * (lane.x + kLanesX * chunk);
    if constexpr (T::kWidth == 4) {
      load4(from, 4, true, v[chunk]);
    } else {
      const float2 pair = *reinterpret_cast<const float2*>(from);
      v[chunk][0] = pair.x;
      v[chunk][1] = pair.y;
    }
  }
}

// load4 and store4 for the kWidth channels of a group.
template <int kWidth>
__device__ void load_group(const float* p, int left, bool vectors, float (&v)[kWidth]) {
  if constexpr (kWidth == 4) {
    load4(p, left, vectors, v);
  } else {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) v[j] = j < left ? p[j] : 0.0f;
  }
}
template <int kWidth>
__device__ void store_group(float* p, int left, bool vectors, const float (&v)[kWidth]) {
  if constexpr (kWidth == 4) {
    store4(p, left, vectors, v);
  } else {
#pragma unroll
    for (int j = 0; j < kWidth; ++j)
      if (j < left) p[j] = v[j];
  }
}

// sum += weight * row, over this lane's channels.
template <class T>
__device__ void add_row(float weight, const float (&row)[T::kChunks][T::kWidth],
                        float (&sum)[T::kChunks][T::kWidth]) {
#pragma unroll
  for (int chunk = 0; chunk < T::kChunks; ++chunk)
#pragma unroll
    for (int j = 0; j < T::kWidth; ++j) sum[chunk][j] = fmaf(weight, row[chunk][j], sum[chunk][j]);
}

// body(channel, left, v) for each of this lane's groups of kWidth channels, of which `left` > 0 exist.
template <class T, class Values, class Body>
__device__ void each_channel(const Lane& lane, int dim, Values& v, Body body) {
#pragma unroll
  for (int chunk = 0; chunk < T::kChunks; ++chunk) {
    const int channel = T::kWidth * (lane.x + kLanesX * chunk);
    if (channel < dim) body(channel, dim - channel, v[chunk]);
  }
}

// row[channels] += (or =) factor * v, in global memory.
template <class T>
__device__ void put_row(const Lane& lane, int dim, bool vectors, float factor,
                        const float (&v)[T::kChunks][T::kWidth], const Into<float>& row) {
  each_channel<T>(lane, dim, v, [&](int channel, int left, const float(&x)[T::kWidth]) {
    float sum[T::kWidth] = {};
    if (row.add) load_group(row.to + channel, left, vectors, sum);
#pragma unroll
    for (int j = 0; j < T::kWidth; ++j) sum[j] += factor * x[j];
    store_group(row.to + channel, left, vectors, sum);
  });
}

// keep[c]: whether the weight of the query at position i for key + c is kept. See
// kernels/attention/attention.h.
template <int kColumns>
__device__ void draw_keep(const AttentionShape& s, int64_t head, int64_t i, int64_t key,
                          bool (&keep)[kColumns]) {
  const int64_t positions = s.past + s.tokens;
  uint32_t draw[4];
  draw4(s.rng, static_cast<uint64_t>((head * positions + i) * positions + key), draw);
#pragma unroll
  for (int c = 0; c < kColumns; ++c) keep[c] = draw[c] >= s.drop.threshold;
}

// The head that a block works on: blockIdx.x over B * heads.
struct Head {
  int64_t index, b, h;
  __device__ explicit Head(const AttentionShape& s)
      : index(blockIdx.x), b(blockIdx.x / s.heads), h(blockIdx.x % s.heads) {}
  // Part 0 (queries), 1 (keys) or 2 (values) of a [rows, 3C] array, `rows` of them for each sequence.
  __device__ int64_t at(const AttentionShape& s, int64_t rows, int part) const {
    const int64_t width = s.heads * s.dim;
    return b * rows * 3 * width + part * width + h * s.dim;
  }
  __device__ HeadRows of_qkv(const AttentionShape& s, const float* qkv, int64_t rows, int64_t end, int part,
                             bool vectors) const {
    return {qkv + at(s, rows, part), 3 * s.heads * s.dim, end, static_cast<int>(s.dim), vectors};
  }
  // Rows [queries, C].
  __device__ HeadRows of_rows(const AttentionShape& s, const float* x, bool vectors) const {
    const int64_t width = s.heads * s.dim;
    return {x + b * s.queries * width + h * s.dim, width, s.queries, static_cast<int>(s.dim), vectors};
  }
};

}  // namespace moe::kernels::cuda::attention
