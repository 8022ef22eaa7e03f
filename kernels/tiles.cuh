#pragma once
// A tile of a matrix product, the core of kernels/grouped_linear and of kernels/router_logits, in three
// precisions and two sizes of one interface.
//
// A block of 256 threads owns a tile of kSide x kSide of C = A B. The inner dimension is walked in slices of
// 16: a slice of each operand lies in shared memory, twice, so that the next is fetched while the last is
// multiplied and one barrier a slice suffices. Each element of a slice is fetched once from global memory.
//
//   kSide = 64   one group of 256 threads walks through all slices
//   kSide = 32   four groups of 64 threads, group g through the slices g, g + 4, g + 8 ..; the groups' sums
//                are added up in order at the end
//
// Where products are small, a GPU has more processors than there are large tiles, and what a tile takes is
// the time to walk: small ones are four times as many blocks with a quarter of the way each.
//
// Fp32Tile: a group's sum for an element is one chain of fused multiply-adds in rising order of the inner
// index; a thread's are 4 x 4 of C. Tf32Tile, Bf16Tile: tensor cores. Operands are rounded when they are put
// into shared memory, sums are in single precision. A warp owns 16 x 32 of C.
//
// In the end each thread owns four neighbours in each of kOwnRows rows of C (each_row).

#include "kernels/mma.h"
#include "kernels/tile_operands.cuh"

namespace moe::kernels::cuda {

// A block's shared memory: of each group two slices of each operand, and in the end its sums.
template <class Shape, class Slice>
union TileMemory {
  struct Group {
    Slice a[2], b[2];
  } group[Shape::kGroups];
  float sum[Shape::kGroups][Shape::kSide][Shape::kSide + 4];
};

// c += the groups' sums, to the threads that own them. put(sum) stores this thread's of its group's sums. All
// threads of the block must call.
template <class Shape, class Put>
__device__ void add_up_groups(float (*sum)[Shape::kSide][Shape::kSide + 4], float (&c)[Shape::kOwnRows][4],
                              Put put) {
  __syncthreads();  // all have done with the slices, which lie in the same memory
  put(sum[Shape::group()]);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < Shape::kOwnRows; ++i)
#pragma unroll
    for (int g = 0; g < Shape::kGroups; ++g) {
      float of_group[4];
      load4(&sum[g][Shape::own_row() + i][Shape::own_column()], 4, true, of_group);
#pragma unroll
      for (int j = 0; j < 4; ++j) c[i][j] += of_group[j];
    }
}

template <int kTileSide>
struct Fp32Tile : TileShape<kTileSide> {
  using Shape = TileShape<kTileSide>;
  static constexpr int kPitch = kTileSide + 4;  // keeps 16-byte alignment
  struct Slice {
    float at[kSlice][kPitch];  // [l][i]
  };
  using Memory = TileMemory<Shape, Slice>;

  template <bool kAlongRows>
  static __device__ void put(const Share& at, const float (&v)[4], Slice& to) {
    if constexpr (kAlongRows) {
#pragma unroll
      for (int j = 0; j < 4; ++j) to.at[at.column + j][at.row] = v[j];
    } else {
      store4(&to.at[at.row][at.column], 4, true, v);
    }
  }

  // A thread's 4 x 4 of its group's sums begin here.
  static __device__ int row() {
    return 4 * (Shape::thread() / Shape::kLanes);
  }
  static __device__ int column() {
    return 4 * (Shape::thread() % Shape::kLanes);
  }

  template <bool, bool>
  static __device__ void multiply(const Slice& a, const Slice& b, float (&sum)[4][4]) {
    const int x = column(), y = row();
#pragma unroll
    for (int l = 0; l < kSlice; ++l) {
      float left[4], right[4];
      load4(&a.at[l][y], 4, true, left);
      load4(&b.at[l][x], 4, true, right);
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] = fmaf(left[i], right[j], sum[i][j]);
    }
  }

  static __device__ void hand_over(Memory& memory, const float (&sum)[4][4], float (&c)[Shape::kOwnRows][4]) {
    if constexpr (Shape::kGroups == 1) {  // they are the owners
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) c[i][j] += sum[i][j];
    } else {
      add_up_groups<Shape>(memory.sum, c, [&](auto& to) {
#pragma unroll
        for (int i = 0; i < 4; ++i) store4(&to[row() + i][column()], 4, true, sum[i]);
      });
    }
  }
};

// Where a thread stands among the tensor cores: warps over the tile of its group; within a warp the lanes'
// registers as kernels/mma.h says. sum[n][..] is the 16 x 8 part n of the warp's 16 x 32.
template <class Shape>
struct TensorLane {
  int lane, g, t, row, column;
  __device__ TensorLane()
      : lane(Shape::thread() % kWarp),
        g(lane / 4),
        t(lane % 4),
        row(Shape::thread() / kWarp / (Shape::kSide / 32) * 16),
        column(Shape::thread() / kWarp % (Shape::kSide / 32) * 32) {}
};

// The warps' parts of C by way of shared memory to the threads that own them in the end.
template <class Shape>
__device__ void hand_over_tensor_tile(float (*memory)[Shape::kSide][Shape::kSide + 4],
                                      const float (&sum)[4][4], float (&c)[Shape::kOwnRows][4]) {
  const TensorLane<Shape> at;
  add_up_groups<Shape>(memory, c, [&](auto& to) {
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        to[at.row + at.g + i / 2 * 8][at.column + 8 * n + 2 * at.t + i % 2] = sum[n][i];
  });
}

template <int kTileSide>
struct Tf32Tile : TileShape<kTileSide> {
  using Shape = TileShape<kTileSide>;
  // [i][l], rows 20 apart, or [l][i], rows 72 or 40 apart: then the 32 elements of a fragment lie on 32
  // banks.
  static constexpr int kAlongPitch = kSlice + 4, kDownPitch = kTileSide + 8;
  struct Slice {
    unsigned at[kTileSide * kAlongPitch];
  };
  static_assert(kSlice * kDownPitch <= kTileSide * kAlongPitch);
  using Memory = TileMemory<Shape, Slice>;

  template <bool kAlongRows>
  static __device__ constexpr int place(int i, int l) {
    return kAlongRows ? i * kAlongPitch + l : l * kDownPitch + i;
  }

  template <bool kAlongRows>
  static __device__ void put(const Share& at, const float (&v)[4], Slice& to) {
    *reinterpret_cast<uint4*>(&to.at[at.row * (kAlongRows ? kAlongPitch : kDownPitch) + at.column]) =
        make_uint4(gpu::to_tf32(v[0]), gpu::to_tf32(v[1]), gpu::to_tf32(v[2]), gpu::to_tf32(v[3]));
  }

  template <bool kARows, bool kBRows>
  static __device__ void multiply(const Slice& a, const Slice& b, float (&sum)[4][4]) {
    const TensorLane<Shape> at;
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
        gpu::mma_tf32(sum[n], left, right);
      }
    }
  }

  static __device__ void hand_over(Memory& memory, const float (&sum)[4][4], float (&c)[Shape::kOwnRows][4]) {
    hand_over_tensor_tile<Shape>(memory.sum, sum, c);
  }
};

template <int kTileSide>
struct Bf16Tile : TileShape<kTileSide> {
  using Shape = TileShape<kTileSide>;
  // [i][l], rows 48 bytes apart, or [l][i], rows 144 or 80 bytes apart: then eight rows of 16 bytes lie on 32
  // banks.
  static constexpr int kAlongPitch = (kSlice + 8) / 2, kDownPitch = (kTileSide + 8) / 2;  // in pairs
  struct alignas(16) Slice {
    unsigned at[kTileSide * kAlongPitch];  // pairs of neighbours in a row
  };
  static_assert(kSlice * kDownPitch <= kTileSide * kAlongPitch);
  using Memory = TileMemory<Shape, Slice>;

  template <bool kAlongRows>
  static __device__ void put(const Share& at, const float (&v)[4], Slice& to) {
    const unsigned low = gpu::bf16_pair(v[0], v[1]), high = gpu::bf16_pair(v[2], v[3]);
    *reinterpret_cast<uint2*>(&to.at[at.row * (kAlongRows ? kAlongPitch : kDownPitch) + at.column / 2]) =
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
  static __device__ void multiply(const Slice& a, const Slice& b, float (&sum)[4][4]) {
    const TensorLane<Shape> at;
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
      gpu::mma_bf16(sum[n], left, {right[0], right[1]});
      gpu::mma_bf16(sum[n + 1], left, {right[2], right[3]});
    }
  }

  static __device__ void hand_over(Memory& memory, const float (&sum)[4][4], float (&c)[Shape::kOwnRows][4]) {
    hand_over_tensor_tile<Shape>(memory.sum, sum, c);
  }
};

// c += A B over inner indices 0 .. inner-1, of the elements that this thread owns. seen(v) is called with
// each share of A that this thread fetches, before any rounding. All threads of the block must call; a second
// time after a barrier.
template <class Tile, class A, class B, class Seen>
__device__ void multiply_tiles(const A& a, const B& b, int inner, typename Tile::Memory& memory,
                               float (&c)[Tile::kOwnRows][4], Seen seen) {
  using Shape = typename Tile::Shape;
  constexpr int kStep = kSlice * Shape::kGroups;
  auto& slices = memory.group[Shape::group()];
  const int first = kSlice * Shape::group();
  float next_a[Shape::kShares][4], next_b[Shape::kShares][4], sum[4][4] = {};
  const auto fetch = [&](int slice) {
#pragma unroll
    for (int q = 0; q < Shape::kShares; ++q) {
      a.fetch(q, slice, next_a[q]);
      b.fetch(q, slice, next_b[q]);
    }
  };
  fetch(first);
  int use = 0;
  for (int step = 0; step < inner; step += kStep, use ^= 1) {
#pragma unroll
    for (int q = 0; q < Shape::kShares; ++q) {
      seen(next_a[q]);
      Tile::template put<A::kAlongRows>(share<Shape, A::kAlongRows>(q), next_a[q], slices.a[use]);
      Tile::template put<B::kAlongRows>(share<Shape, B::kAlongRows>(q), next_b[q], slices.b[use]);
    }
    __syncthreads();
    if (step + kStep < inner) fetch(step + kStep + first);
    Tile::template multiply<A::kAlongRows, B::kAlongRows>(slices.a[use], slices.b[use], sum);
  }
  Tile::hand_over(memory, sum, c);
}

struct Ignore {
  __device__ void operator()(const float (&)[4]) const {}
};

template <int kMost>
__device__ int at_most(int64_t n) {
  return n < kMost ? static_cast<int>(n) : kMost;
}

// store(i, row, column, left) for each row of C that exists of this thread: its i-th, columns column ..
// column + 3, of which `left` exist.
template <class Shape, class Store>
__device__ void each_row(int rows, int columns, Store store) {
  const int x = Shape::own_column(), y = Shape::own_row();
#pragma unroll
  for (int i = 0; i < Shape::kOwnRows; ++i)
    if (y + i < rows && x < columns) store(i, y + i, x, columns - x);
}

// to[0..height) = or, with `add`, += the sums of an operand's columns, of which each thread has summed those
// that it fetched down its columns: four columns, every (kTileThreads / kLanes)-th row. Added up over the
// threads of a column in a fixed tree. All threads of the block must call.
template <class Shape>
__device__ void store_fetched_sums(float (&sum)[4], int height, bool add, float* to) {
  constexpr int kWarps = kTileThreads / kWarp;
  SHARED(partial, float[kWarps][Shape::kSide]);
#pragma unroll
  for (int offset = kWarp / 2; offset >= Shape::kLanes; offset /= 2)
#pragma unroll
    for (int j = 0; j < 4; ++j) sum[j] += __shfl_xor_sync(~0u, sum[j], offset);
  if (threadIdx.x % kWarp < Shape::kLanes)
    store4(&partial[threadIdx.x / kWarp][Shape::own_column()], 4, true, sum);
  __syncthreads();
  if (static_cast<int>(threadIdx.x) >= height) return;
  float total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) total += partial[w][threadIdx.x];
  to[threadIdx.x] = add ? to[threadIdx.x] + total : total;
}

}  // namespace moe::kernels::cuda
