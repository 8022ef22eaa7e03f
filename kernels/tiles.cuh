#pragma once
// A tile of a matrix product, the core of kernels/grouped_linear, in three precisions of one interface.
//
// A block of 256 threads owns a tile of 64 x 64 of C = A B: thread (x, y) of 16 x 16 its elements
// rows 4y..4y+3, columns 4x..4x+3. The inner dimension is walked 16 at a time: a slice of each operand lies
// in shared memory, twice, so that the next is fetched while the last is multiplied and one barrier a slice
// suffices. Each element of a slice is fetched once from global memory.
//
// Fp32Tile: an element's sum is one chain of fused multiply-adds in rising order of the inner index.
// Tf32Tile, Bf16Tile: tensor cores. Operands are rounded when they are put into shared memory, sums are in
// single precision. A warp owns 16 x 32 of C, and hands it to the owners above through shared memory at the
// end.

#include "kernels/grid.cuh"
#include "kernels/mma.h"
#include "kernels/vectors.cuh"

namespace moe::kernels::cuda {

inline constexpr int kTile = 64, kSlice = 16, kTileThreads = 256;

// An operand's share of a thread in a slice: four neighbouring elements (i, l).
//
// InnerAlongRows: (i, l) = x[i * stride + l], thread t fetches l = 4(t % 4) .. +3 of i = t / 4.
// InnerDownColumns: (i, l) = x[l * stride + i], thread t fetches i = 4(t % 16) .. +3 of l = t / 16.
// What does not exist is 0.
struct InnerAlongRows {
  static constexpr bool kAlongRows = true;
  const float* x;
  int64_t stride, rows, inner;  // i < rows, l < inner exist
  bool vectors;

  __device__ void fetch(int64_t slice, float (&v)[4]) const {
    const int64_t i = threadIdx.x / 4, l = slice + 4 * (threadIdx.x % 4);
    load4(x + i * stride + l, i < rows ? inner - l : 0, vectors, v);
  }
};

struct InnerDownColumns {
  static constexpr bool kAlongRows = false;
  const float* x;
  int64_t stride, columns, inner;  // i < columns, l < inner exist
  bool vectors;

  __device__ void fetch(int64_t slice, float (&v)[4]) const {
    const int64_t l = slice + threadIdx.x / 16, i = 4 * (threadIdx.x % 16);
    load4(x + l * stride + i, l < inner ? columns - i : 0, vectors, v);
  }
};

// The same of rows that lie anywhere, row i being x[of(i)].
template <class Of>
struct GatheredAlongRows {
  static constexpr bool kAlongRows = true;
  const float* row;  // this thread's
  int64_t inner;     // 0 where its row does not exist
  bool vectors;

  __device__ GatheredAlongRows(const float* x, int64_t stride, int64_t rows, int64_t elements, bool aligned,
                               const Of& of)
      : inner(threadIdx.x / 4 < rows ? elements : 0), vectors(aligned) {
    row = x + (inner > 0 ? of(threadIdx.x / 4) : 0) * stride;
  }
  __device__ void fetch(int64_t slice, float (&v)[4]) const {
    const int64_t l = slice + 4 * (threadIdx.x % 4);
    load4(row + l, inner - l, vectors, v);
  }
};

template <class Of>
struct GatheredDownColumns {
  static constexpr bool kAlongRows = false;
  const float* x;
  int64_t stride, columns, inner;
  bool vectors;
  Of of;

  __device__ void fetch(int64_t slice, float (&v)[4]) const {
    const int64_t l = slice + threadIdx.x / 16, i = 4 * (threadIdx.x % 16);
    load4(x + (l < inner ? of(l) : 0) * stride + i, l < inner ? columns - i : 0, vectors, v);
  }
};

// An operand that is changed element by element by another of the same layout: with(value, other).
template <class Operand, class With>
struct Combined {
  static constexpr bool kAlongRows = Operand::kAlongRows;
  Operand value, other;

  __device__ void fetch(int64_t slice, float (&v)[4]) const {
    value.fetch(slice, v);
    float m[4];
    other.fetch(slice, m);
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = With::of(v[j], m[j]);
  }
};

// Where a thread's four elements of a slice go when the slice is stored as [i][l] or as [l][i].
__device__ inline int row_of_share(bool along_rows) {
  return static_cast<int>(threadIdx.x) / (along_rows ? 4 : 16);
}
__device__ inline int column_of_share(bool along_rows) {
  return 4 * (static_cast<int>(threadIdx.x) % (along_rows ? 4 : 16));
}

// Two slices of each operand.
template <class Slice>
struct Slices {
  Slice a[2], b[2];
};

struct Fp32Tile {
  static constexpr int kPitch = kTile + 4;  // keeps 16-byte alignment
  struct Slice {
    float at[kSlice][kPitch];  // [l][i]
  };
  struct Memory {
    Slices<Slice> slices;
  };

  template <bool kAlongRows>
  static __device__ void put(const float (&v)[4], Slice& to) {
    const int row = row_of_share(kAlongRows), column = column_of_share(kAlongRows);
    if constexpr (kAlongRows) {
#pragma unroll
      for (int j = 0; j < 4; ++j) to.at[column + j][row] = v[j];
    } else {
      store4(&to.at[row][column], 4, true, v);
    }
  }

  template <bool, bool>
  static __device__ void multiply(const Slice& a, const Slice& b, float (&c)[4][4]) {
    const int x = 4 * (threadIdx.x % 16), y = 4 * (threadIdx.x / 16);
#pragma unroll
    for (int l = 0; l < kSlice; ++l) {
      float row[4], column[4];
      load4(&a.at[l][y], 4, true, row);
      load4(&b.at[l][x], 4, true, column);
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) c[i][j] = fmaf(row[i], column[j], c[i][j]);
    }
  }

  static __device__ void hand_over(Memory&, float (&)[4][4]) {}
};

// Where a thread stands among the tensor cores: warps 4 x 2 over the tile; within a warp the lanes' registers
// as kernels/mma.h says. c[n][..] is the 16 x 8 part n of the warp's 16 x 32.
struct TensorLane {
  int lane, g, t, row, column;
  __device__ TensorLane()
      : lane(static_cast<int>(threadIdx.x) % kWarp),
        g(lane / 4),
        t(lane % 4),
        row(static_cast<int>(threadIdx.x) / kWarp / 2 * 16),
        column(static_cast<int>(threadIdx.x) / kWarp % 2 * 32) {}
};

// The warps' parts of C by way of shared memory to the threads that own 4 x 4 of it.
__device__ inline void hand_over_tensor_tile(float (*shared)[kTile + 4], float (&c)[4][4]) {
  const TensorLane at;
  __syncthreads();  // all have done with the slices, which lie in the same memory
#pragma unroll
  for (int n = 0; n < 4; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      shared[at.row + at.g + i / 2 * 8][at.column + 8 * n + 2 * at.t + i % 2] = c[n][i];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 4; ++i)
    load4(&shared[4 * (threadIdx.x / 16) + i][4 * (threadIdx.x % 16)], 4, true, c[i]);
}

struct Tf32Tile {
  // [i][l], rows 20 apart, or [l][i], rows 72 apart: then the 32 elements of a fragment lie on 32 banks.
  static constexpr int kAlongPitch = kSlice + 4, kDownPitch = kTile + 8;
  struct Slice {
    unsigned at[kTile * kAlongPitch];
  };
  static_assert(kSlice * kDownPitch <= kTile * kAlongPitch);
  union Memory {
    Slices<Slice> slices;
    float c[kTile][kTile + 4];
  };

  template <bool kAlongRows>
  static __device__ constexpr int place(int i, int l) {
    return kAlongRows ? i * kAlongPitch + l : l * kDownPitch + i;
  }

  template <bool kAlongRows>
  static __device__ void put(const float (&v)[4], Slice& to) {
    const int row = row_of_share(kAlongRows), column = column_of_share(kAlongRows);
    *reinterpret_cast<uint4*>(&to.at[row * (kAlongRows ? kAlongPitch : kDownPitch) + column]) =
        make_uint4(gpu::to_tf32(v[0]), gpu::to_tf32(v[1]), gpu::to_tf32(v[2]), gpu::to_tf32(v[3]));
  }

  template <bool kARows, bool kBRows>
  static __device__ void multiply(const Slice& a, const Slice& b, float (&c)[4][4]) {
    const TensorLane at;
    const int i = at.row + at.g;
#pragma unroll
    for (int l = 0; l < kSlice; l += 8) {
      const unsigned left[4] = {a.at[place<kARows>(i, l + at.t)], a.at[place<kARows>(i + 8, l + at.t)],
                                a.at[place<kARows>(i, l + at.t + 4)],
                                a.at[place<kARows>(i + 8, l + at.t + 4)]};
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const int j = at.column + 8 * n + at.g;
        const unsigned right[2] = {b.at[place<kBRows>(j, l + at.t)], b.at[place<kBRows>(j, l + at.t + 4)]};
        gpu::mma_tf32(c[n], left, right);
      }
    }
  }

  static __device__ void hand_over(Memory& memory, float (&c)[4][4]) {
    hand_over_tensor_tile(memory.c, c);
  }
};

struct Bf16Tile {
  // [i][l], rows 48 bytes apart, or [l][i], rows 144 bytes apart: then eight rows of 16 bytes lie on 32
  // banks.
  static constexpr int kAlongPitch = (kSlice + 8) / 2, kDownPitch = (kTile + 8) / 2;  // in pairs
  struct alignas(16) Slice {
    unsigned at[kTile * kAlongPitch];  // pairs of neighbours in a row
  };
  static_assert(kSlice * kDownPitch <= kTile * kAlongPitch);
  union Memory {
    Slices<Slice> slices;
    float c[kTile][kTile + 4];
  };

  template <bool kAlongRows>
  static __device__ void put(const float (&v)[4], Slice& to) {
    const int row = row_of_share(kAlongRows), column = column_of_share(kAlongRows);
    const unsigned low = gpu::bf16_pair(v[0], v[1]), high = gpu::bf16_pair(v[2], v[3]);
    *reinterpret_cast<uint2*>(&to.at[row * (kAlongRows ? kAlongPitch : kDownPitch) + column / 2]) =
        make_uint2(low, high);
  }

  // ldmatrix takes four matrices of 8 x 8, whose rows the lanes name. Stored [i][l] they are what the product
  // wants; stored [l][i] they are transposed on the way. For A the four are (i, l), (i+8, l), (i, l+8), (i+8,
  // l+8); for B, which brings two of the parts at once, (j, l), (j, l+8), (j+8, l), (j+8, l+8).
  template <bool kAlongRows>
  static __device__ void fragment(const Slice& from, int i, int l, unsigned (&r)[4]) {
    if constexpr (kAlongRows)
      gpu::ldmatrix_x4(r, &from.at[i * kAlongPitch + l / 2]);
    else
      gpu::ldmatrix_x4_trans(r, &from.at[l * kDownPitch + i / 2]);
  }

  template <bool kARows, bool kBRows>
  static __device__ void multiply(const Slice& a, const Slice& b, float (&c)[4][4]) {
    const TensorLane at;
    const int r = at.lane % 8, odd = at.lane / 8 % 2 * 8, upper = at.lane / 16 * 8;
    unsigned left[4];
    if constexpr (kARows)
      fragment<true>(a, at.row + r + odd, upper, left);
    else
      fragment<false>(a, at.row + odd, r + upper, left);
#pragma unroll
    for (int n = 0; n < 4; n += 2) {
      unsigned right[4];
      if constexpr (kBRows)
        fragment<true>(b, at.column + 8 * n + r + upper, odd, right);
      else
        fragment<false>(b, at.column + 8 * n + upper, r + odd, right);
      gpu::mma_bf16(c[n], left, {right[0], right[1]});
      gpu::mma_bf16(c[n + 1], left, {right[2], right[3]});
    }
  }

  static __device__ void hand_over(Memory& memory, float (&c)[4][4]) {
    hand_over_tensor_tile(memory.c, c);
  }
};

// c = A B over inner indices 0 .. inner-1; c must be zero. seen(v) is called with each share of A that this
// thread fetches, before any rounding. All threads of the block must call, once.
template <class Tile, class A, class B, class Seen>
__device__ void multiply_tiles(const A& a, const B& b, int64_t inner, typename Tile::Memory& memory,
                               float (&c)[4][4], Seen seen) {
  Slices<typename Tile::Slice>& slices = memory.slices;
  float next_a[4], next_b[4];
  a.fetch(0, next_a);
  b.fetch(0, next_b);
  int use = 0;
  for (int64_t slice = 0; slice < inner; slice += kSlice, use ^= 1) {
    seen(next_a);
    Tile::template put<A::kAlongRows>(next_a, slices.a[use]);
    Tile::template put<B::kAlongRows>(next_b, slices.b[use]);
    __syncthreads();
    if (slice + kSlice < inner) {
      a.fetch(slice + kSlice, next_a);
      b.fetch(slice + kSlice, next_b);
    }
    Tile::template multiply<A::kAlongRows, B::kAlongRows>(slices.a[use], slices.b[use], c);
  }
  Tile::hand_over(memory, c);
}

struct Ignore {
  __device__ void operator()(const float (&)[4]) const {}
};

__device__ inline int64_t at_most_tile(int64_t n) {
  return n < kTile ? n : kTile;
}

// store(i, j4, left, c) for each row of C that exists of this thread: row i of its four, row j of the tile's,
// columns j4 .. j4+3, of which `left` exist.
template <class Store>
__device__ void each_row(int64_t rows, int64_t columns, Store store) {
  const int x = 4 * (threadIdx.x % 16), y = 4 * (threadIdx.x / 16);
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (y + i < rows && x < columns) store(i, y + i, x, columns - x);
}

// to[0..height) = or, with `add`, += the sums of an operand's columns, of which each thread has summed those
// that it fetched down its columns: four columns, every 16th row. Added up over the 16 threads of a column in
// a fixed tree. All threads of the block must call.
__device__ inline void store_fetched_sums(float (&sum)[4], int64_t height, bool add, float* to) {
  constexpr int kWarps = kTileThreads / kWarp;
  SHARED(partial, float[kWarps][kTile]);
#pragma unroll
  for (int j = 0; j < 4; ++j) sum[j] += __shfl_xor_sync(~0u, sum[j], 16);
  if (threadIdx.x % kWarp < 16) store4(&partial[threadIdx.x / kWarp][4 * (threadIdx.x % 16)], 4, true, sum);
  __syncthreads();
  if (threadIdx.x >= height) return;
  float total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) total += partial[w][threadIdx.x];
  to[threadIdx.x] = add ? to[threadIdx.x] + total : total;
}

}  // namespace moe::kernels::cuda
