#pragma once
// A tile of a matrix product in single precision, the core of kernels/grouped_linear.
//
// A block of 256 threads owns a tile of 64 x 64 of C = A B: thread (x, y) of 16 x 16 its elements
// rows 4y..4y+3, columns 4x..4x+3. The inner dimension is walked 16 at a time: a slice of A, [16, 64], and one of B,
// [16, 64], lie in shared memory, two of each, so that the next is fetched while the last is multiplied and one
// barrier a slice suffices. Each slice element is read once from global memory and 16 times from shared memory.
// An element's sum is one chain of fused multiply-adds in rising order of the inner index.

#include "kernels/grid.cuh"
#include "kernels/vectors.cuh"

namespace moe::kernels::cuda {

inline constexpr int kTile = 64, kSlice = 16, kTileThreads = 256;
inline constexpr int kTilePitch = kTile + 4;  // floats from row to row of a slice: keeps 16-byte alignment

// The slices of both operands, twice.
struct TileMemory {
  float a[2][kSlice][kTilePitch];
  float b[2][kSlice][kTilePitch];
};

// An operand whose inner index runs along a row: element (i, l) = x[i * stride + l]. Thread t fetches
// l = 4(t % 4) .. +3 of i = t / 4 and writes it transposed.
struct InnerAlongRows {
  const float* x;
  int64_t stride, rows, inner;  // i < rows, l < inner; others are 0
  bool vectors;

  __device__ void fetch(int64_t slice, float (&v)[4]) const {
    const int64_t i = threadIdx.x / 4, l = slice + 4 * (threadIdx.x % 4);
    load4(x + i * stride + l, i < rows ? inner - l : 0, vectors, v);
  }
  static __device__ void put(const float (&v)[4], float (&to)[kSlice][kTilePitch]) {
    const int i = threadIdx.x / 4, l = 4 * (threadIdx.x % 4);
#pragma unroll
    for (int j = 0; j < 4; ++j) to[l + j][i] = v[j];
  }
};

// An operand whose inner index runs down a column: element (i, l) = x[l * stride + i]. Thread t fetches
// i = 4(t % 16) .. +3 of l = t / 16.
struct InnerDownColumns {
  const float* x;
  int64_t stride, columns, inner;  // i < columns, l < inner; others are 0
  bool vectors;

  __device__ void fetch(int64_t slice, float (&v)[4]) const {
    const int64_t l = slice + threadIdx.x / 16, i = 4 * (threadIdx.x % 16);
    load4(x + l * stride + i, l < inner ? columns - i : 0, vectors, v);
  }
  static __device__ void put(const float (&v)[4], float (&to)[kSlice][kTilePitch]) {
    store4(&to[threadIdx.x / 16][4 * (threadIdx.x % 16)], 4, true, v);
  }
};

// An operand that is multiplied by (mask > 0), element by element: both of one layout.
template <class Operand>
struct Masked {
  Operand value, mask;

  __device__ void fetch(int64_t slice, float (&v)[4]) const {
    value.fetch(slice, v);
    float m[4];
    mask.fetch(slice, m);
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = m[j] > 0.0f ? v[j] : 0.0f;
  }
  static __device__ void put(const float (&v)[4], float (&to)[kSlice][kTilePitch]) { Operand::put(v, to); }
};

// c += A B over inner indices 0 .. inner-1. seen(slice) is called for each slice of A while it lies in shared memory.
// All threads of the block must call; afterwards the memory may be used again behind a barrier.
template <class A, class B, class Seen>
__device__ void multiply_tiles(const A& a, const B& b, int64_t inner, TileMemory& memory, float (&c)[4][4],
                               Seen seen) {
  const int x = 4 * (threadIdx.x % 16), y = 4 * (threadIdx.x / 16);
  float next_a[4], next_b[4];
  a.fetch(0, next_a);
  b.fetch(0, next_b);
  int use = 0;
  for (int64_t slice = 0; slice < inner; slice += kSlice, use ^= 1) {
    A::put(next_a, memory.a[use]);
    B::put(next_b, memory.b[use]);
    __syncthreads();
    if (slice + kSlice < inner) {
      a.fetch(slice + kSlice, next_a);
      b.fetch(slice + kSlice, next_b);
    }
    seen(memory.a[use]);
#pragma unroll
    for (int l = 0; l < kSlice; ++l) {
      float row[4], column[4];
      load4(&memory.a[use][l][y], 4, true, row);
      load4(&memory.b[use][l][x], 4, true, column);
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) c[i][j] = fmaf(row[i], column[j], c[i][j]);
    }
  }
}

}  // namespace moe::kernels::cuda
