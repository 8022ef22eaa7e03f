// Three products, each one launch for all experts, in tiles of 64 x 64 (kernels/tiles.cuh).
//
//   forward          y[r] = x[r] W[e]^T + b[e]     a block owns 64 rows of one expert x 64 columns of y
//   input gradient   dx[r] += dh[r] W[e]           64 rows of one expert x 64 columns of dx
//   weight gradient  dW[e] += dh^T x               64 x 64 elements of one expert's dW, over all its rows;
//                    db[e] += sum of dh            the blocks of the first columns own 64 elements of db too
//
// How many rows an expert has is known on the device alone. The grid of the first two is fixed on the host:
// rows / 64 tiles, and one more for each expert, since its last tile may not be full. Every block walks
// through the offsets to find its tile; blocks behind the last one leave. In forward the rows that belong to
// nobody are one more group, of which zeros are written.
//
// Reads: x and dh once for every 64 columns of the result, a weight once for every 64 rows of its expert.
// With relu backward never stores dh: it reads dy and y, and masks while it fetches.

#include "core/cuda_memory.h"
#include "kernels/grouped_linear/grouped_linear.h"
#include "kernels/tiles.cuh"

namespace moe::kernels::cuda {
namespace {

// The rows of a tile: `count` of them, from `first` on, of the group `expert`.
struct RowTile {
  int64_t expert, first, count;
};

// Tile `index` over all groups, groups first .. groups-1 being the experts and, with idle rows, the rows
// behind them as group `experts`. count is 0 when there is no such tile.
__device__ RowTile find_row_tile(const GroupedLinearShape& s, const int32_t* offsets, int64_t index,
                                 bool idle) {
  for (int64_t e = 0; e < s.experts + idle; ++e) {
    const int64_t begin = offsets[e], end = e < s.experts ? offsets[e + 1] : s.rows;
    const int64_t tiles = (end - begin + kTile - 1) / kTile;
    if (index < tiles) {
      const int64_t first = begin + index * kTile;
      return {e, first, end - first < kTile ? end - first : kTile};
    }
    index -= tiles;
  }
  return {0, 0, 0};
}

int64_t row_tiles(const GroupedLinearShape& s, bool idle) {
  return s.rows / kTile + s.experts + idle;
}

__device__ int64_t at_most_tile(int64_t n) {
  return n < kTile ? n : kTile;
}

// Writes a tile: each thread its elements that exist. store(i, j4, left, c): row i, columns j4..j4+3, of
// which `left` exist.
template <class Store>
__device__ void each_row(int64_t rows, int64_t columns, Store store) {
  const int x = 4 * (threadIdx.x % 16), y = 4 * (threadIdx.x / 16);
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (y + i < rows && x < columns) store(i, y + i, x, columns - x);
}

struct Ignore {
  __device__ void operator()(const float (&)[4]) const {}
};

template <class Tile>
__global__ void __launch_bounds__(kTileThreads)
    grouped_linear_forward_kernel(GroupedLinearShape s, const int32_t* offsets, bool vectors_in,
                                  bool vectors_out, const float* x, const float* weight, const float* bias,
                                  float* y) {
  SHARED(memory, typename Tile::Memory);
  const RowTile tile = find_row_tile(s, offsets, blockIdx.x, true);
  if (tile.count == 0) return;  // of the whole block
  const int64_t m = static_cast<int64_t>(blockIdx.y) * kTile, columns = at_most_tile(s.out - m);
  const bool idle = tile.expert == s.experts;
  float c[4][4] = {};
  if (!idle)
    multiply_tiles<Tile>(
        InnerAlongRows{x + tile.first * s.in, s.in, tile.count, s.in, vectors_in},
        InnerAlongRows{weight + (tile.expert * s.out + m) * s.in, s.in, columns, s.in, vectors_in}, s.in,
        memory, c, Ignore{});
  each_row(tile.count, columns, [&](int i, int64_t row, int64_t column, int64_t left) {
    float b[4] = {0, 0, 0, 0};
    if (bias && !idle) load4(bias + tile.expert * s.out + m + column, left, vectors_out, b);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      b[j] += c[i][j];
      if (s.relu) b[j] = b[j] > 0.0f ? b[j] : 0.0f;
    }
    store4(y + (tile.first + row) * s.out + m + column, left, vectors_out, b);
  });
}

// dh as an operand: dy, masked by y > 0 with relu. The operand begins at element `at` of both.
template <bool kRelu, class Operand>
__device__ auto gradient_operand(const Operand& dy, const float* y, int64_t at) {
  if constexpr (kRelu) {
    Operand mask = dy;
    mask.x = y + at;
    return Masked<Operand>{dy, mask};
  } else {
    return dy;
  }
}

struct Gradients {
  GroupedLinearShape s;
  const int32_t* offsets;
  bool vectors_in, vectors_out;
  const float *x, *weight, *y, *dy;
  float *dx, *dweight, *dbias;
};

template <class Tile, bool kRelu>
__global__ void __launch_bounds__(kTileThreads) grouped_linear_dx_kernel(Gradients g) {
  SHARED(memory, typename Tile::Memory);
  const GroupedLinearShape& s = g.s;
  const RowTile tile = find_row_tile(s, g.offsets, blockIdx.x, false);
  if (tile.count == 0) return;
  const int64_t k = static_cast<int64_t>(blockIdx.y) * kTile, columns = at_most_tile(s.in - k);
  const int64_t at = tile.first * s.out;
  float c[4][4] = {};
  multiply_tiles<Tile>(
      gradient_operand<kRelu>(InnerAlongRows{g.dy + at, s.out, tile.count, s.out, g.vectors_out}, g.y, at),
      InnerDownColumns{g.weight + tile.expert * s.out * s.in + k, s.in, columns, s.out, g.vectors_in}, s.out,
      memory, c, Ignore{});
  each_row(tile.count, columns, [&](int i, int64_t row, int64_t column, int64_t left) {
    add4(g.dx + (tile.first + row) * s.in + k + column, left, g.vectors_in, c[i]);
  });
}

// dbias[0..height) += the sums of the tile's columns of dh, of which each thread has summed those that it
// fetched: four columns, every 16th row. Added up over the 16 threads of a column in a fixed tree.
__device__ void add_bias_gradient(float (&sum)[4], int64_t height, float* dbias) {
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
  dbias[threadIdx.x] += total;
}

template <class Tile, bool kRelu>
__global__ void __launch_bounds__(kTileThreads) grouped_linear_dweight_kernel(Gradients g) {
  SHARED(memory, typename Tile::Memory);
  const GroupedLinearShape& s = g.s;
  const int64_t e = blockIdx.z, first = g.offsets[e], rows = g.offsets[e + 1] - first;
  if (rows == 0) return;
  const int64_t k = static_cast<int64_t>(blockIdx.x) * kTile, m = static_cast<int64_t>(blockIdx.y) * kTile;
  const int64_t height = at_most_tile(s.out - m), columns = at_most_tile(s.in - k);
  const int64_t at = first * s.out + m;
  float c[4][4] = {}, bias_sum[4] = {};
  multiply_tiles<Tile>(
      gradient_operand<kRelu>(InnerDownColumns{g.dy + at, s.out, height, rows, g.vectors_out}, g.y, at),
      InnerDownColumns{g.x + first * s.in + k, s.in, columns, rows, g.vectors_in}, rows, memory, c,
      [&](const float(&dh)[4]) {
#pragma unroll
        for (int j = 0; j < 4; ++j) bias_sum[j] += dh[j];
      });
  if (g.dbias && k == 0) add_bias_gradient(bias_sum, height, g.dbias + e * s.out + m);
  if (!g.dweight) return;
  each_row(height, columns, [&](int i, int64_t row, int64_t column, int64_t left) {
    add4(g.dweight + (e * s.out + m + row) * s.in + k + column, left, g.vectors_in, c[i]);
  });
}

template <class Tile, bool kRelu>
void backward(const Gradients& g, Stream stream) {
  const GroupedLinearShape& s = g.s;
  const unsigned in_tiles = blocks_for(s.in, kTile), out_tiles = blocks_for(s.out, kTile);
  const auto rows = static_cast<unsigned>(row_tiles(s, false));
  if (g.dx)
    gpu::launch<grouped_linear_dx_kernel<Tile, kRelu>>({dim3(rows, in_tiles), kTileThreads, 0, stream}, g);
  if (!g.dweight && !g.dbias) return;
  // Without dweight, or without inputs, the blocks that own db alone.
  const unsigned columns = g.dweight && in_tiles > 0 ? in_tiles : 1;
  gpu::launch<grouped_linear_dweight_kernel<Tile, kRelu>>(
      {dim3(columns, out_tiles, static_cast<unsigned>(s.experts)), kTileThreads, 0, stream}, g);
}

// with<Tile>() for the precision of current_precision().
template <class With>
void with_tile(With with) {
  switch (moe::cuda::usable_precision()) {
    case Precision::fp32:
      return with.template operator()<Fp32Tile>();
    case Precision::tf32:
      return with.template operator()<Tf32Tile>();
    case Precision::bf16:
      return with.template operator()<Bf16Tile>();
  }
}

}  // namespace

void grouped_linear_forward(GroupedLinearShape s, const int32_t* offsets, const float* x, const float* weight,
                            const float* bias, float* y, Stream stream) {
  with_tile([&]<class Tile>() {
    gpu::launch<grouped_linear_forward_kernel<Tile>>(
        {dim3(static_cast<unsigned>(row_tiles(s, true)), blocks_for(s.out, kTile)), kTileThreads, 0, stream},
        s, offsets, in_vectors(s.in, x, weight), in_vectors(s.out, bias, y), x, weight, bias, y);
  });
}

void grouped_linear_backward(GroupedLinearShape s, const int32_t* offsets, const float* x,
                             const float* weight, const float* y, const float* dy, float*, float* dx,
                             float* dweight, float* dbias, Stream stream) {
  const Gradients g{s,
                    offsets,
                    in_vectors(s.in, x, weight, dx, dweight),
                    in_vectors(s.out, dy, y),
                    x,
                    weight,
                    y,
                    dy,
                    dx,
                    dweight,
                    dbias};
  with_tile([&]<class Tile>() {
    if (s.relu)
      backward<Tile, true>(g, stream);
    else
      backward<Tile, false>(g, stream);
  });
}

}  // namespace moe::kernels::cuda
