// Two launches for all experts, in tiles of 64 x 64, or of 32 x 32 where there are few (kernels/tiles.cuh).
//
//   forward          y[r] = rows[r] W[e]^T + b[e]   a block owns rows of one expert x columns of y
//
// backward, two kinds of blocks side by side:
//
//   input gradient   drows[r] = dh[r] W[e]          rows of one expert x columns of drows
//   weight gradient  dW[e] += dh^T rows             elements of one expert's dW, over all its rows; the
//                    db[e] += sum of dh             blocks of the first columns own elements of db too
//
// How many rows an expert has is known on the device alone. The grid of the first two is fixed on the host:
// rows / side tiles, and one more for each expert, since its last tile may not be full. The lanes of every
// warp look through the offsets for its tile; blocks behind the last one leave. In forward the rows that
// belong to nobody are one more group, of which zeros are written; in the input gradient too where it is not
// added to.
//
// Reads: rows and dh once for every tile of columns of the result, a weight once for every tile of rows of
// its expert. Neither gathered rows nor, with an epilogue, dh are ever stored: x is read through the
// assignment, and dy and what forward kept become dh while they are fetched. A gathered x gets its gradient
// from drows by gather's backward, a second launch: a token's rows lie in several tiles.

#include "core/cuda_memory.h"
#include "kernels/gather/gather.h"
#include "kernels/grouped_linear/grouped_linear.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/reduce.cuh"
#include "kernels/tiles.cuh"

namespace moe::kernels::cuda {
namespace {

// Offsets are 32 bits wide, so that R is less than 2^31.
__device__ int offset_of(const GroupedLinearShape& s, const int32_t* offsets, int64_t e) {
  return offsets ? offsets[e] : static_cast<int>(e * s.rows);
}

// The rows of a tile: `count` of them, from `first` on, of the group `expert`.
struct RowTile {
  int64_t expert, first;
  int count;
};

// Tile `index` over all groups, groups 0 .. E-1 being the experts and, with idle rows, the rows
// behind them as group `experts`. count is 0 when there is no such tile. All lanes of a warp must call.
template <int kSide>
__device__ RowTile find_row_tile(const GroupedLinearShape& s, const int32_t* offsets, int index, bool idle) {
  const int rows = static_cast<int>(s.rows);
  if (!offsets) return {0, int64_t{index} * kSide, at_most<kSide>(rows - index * kSide)};
  const int experts = static_cast<int>(s.experts), groups = experts + idle;
  for (int base = 0; base < groups; base += kWarp) {
    const int e = base + static_cast<int>(threadIdx.x) % kWarp;
    const int begin = e <= experts ? offsets[e] : rows, end = e < experts ? offsets[e + 1] : rows;
    const int tiles = e < groups ? (end - begin + kSide - 1) / kSide : 0, until = sum_until_lane(tiles);
    const unsigned reached = __ballot_sync(~0u, index < until);
    if (reached) {
      const int lane = __ffs(static_cast<int>(reached)) - 1;
      const int first = __shfl_sync(~0u, begin + (index - until + tiles) * kSide, lane);
      return {base + lane, first, at_most<kSide>(__shfl_sync(~0u, end, lane) - first)};
    }
    index -= __shfl_sync(~0u, until, kWarp - 1);
  }
  return {0, 0, 0};
}

unsigned row_tiles(const GroupedLinearShape& s, const int32_t* offsets, int side, bool idle) {
  return offsets ? static_cast<unsigned>(s.rows / side + s.experts + idle) : blocks_for(s.rows, side);
}

// Whose row of x a row is, from the row `first` on.
struct TokenOf {
  const int32_t* assignment;
  int32_t topk;
  __device__ int64_t operator()(int r) const { return assignment[r] / topk; }
};

// Rows of x as operands, from the row `first` on.
template <class Shape, bool kGathered>
__device__ auto rows_along(const GroupedRows& where, const float* x, int64_t first, int64_t in, int count,
                           bool vectors) {
  if constexpr (kGathered)
    return GatheredAlongRows<Shape, TokenOf>(
        x, in, count, static_cast<int>(in), vectors,
        TokenOf{where.assignment + first, static_cast<int32_t>(where.topk)});
  else
    return InnerAlongRows<Shape>(x + first * in, in, count, static_cast<int>(in), vectors);
}
template <class Shape, bool kGathered>
__device__ auto rows_down(const GroupedRows& where, const float* x, int64_t first, int64_t column, int64_t in,
                          int columns, int count, bool vectors) {
  if constexpr (kGathered)
    return GatheredDownColumns<Shape, TokenOf>(
        x + column, in, columns, count, vectors,
        TokenOf{where.assignment + first, static_cast<int32_t>(where.topk)});
  else
    return InnerDownColumns<Shape>(x + first * in + column, in, columns, count, vectors);
}

struct Forward {
  GroupedLinearShape s;
  GroupedRows where;
  bool vectors_in, vectors_out;
  const float *x, *weight, *bias;
  float *h, *y;
};

template <class Tile, bool kGathered>
__global__ void __launch_bounds__(kTileThreads) grouped_linear_forward_kernel(Forward f) {
  SHARED(memory, typename Tile::Memory);
  const GroupedLinearShape& s = f.s;
  const RowTile tile = find_row_tile<Tile::kSide>(s, f.where.offsets, static_cast<int>(blockIdx.x),
                                                  f.where.offsets != nullptr);
  if (tile.count == 0) return;  // of the whole block
  using Shape = typename Tile::Shape;
  const int64_t m = static_cast<int64_t>(blockIdx.y) * Tile::kSide;
  const int in = static_cast<int>(s.in), columns = at_most<Tile::kSide>(s.out - m);
  const bool idle = tile.expert == s.experts;
  float c[Tile::kOwnRows][4] = {};
  if (!idle)
    multiply_tiles<Tile>(
        rows_along<Shape, kGathered>(f.where, f.x, tile.first, s.in, tile.count, f.vectors_in),
        InnerAlongRows<Shape>(f.weight + (tile.expert * s.out + m) * s.in, s.in, columns, in, f.vectors_in),
        in, memory, c, Ignore{});
  each_row<Shape>(tile.count, columns, [&](int i, int row, int column, int left) {
    float b[4] = {0, 0, 0, 0};
    if (f.bias && !idle) load4(f.bias + tile.expert * s.out + m + column, left, f.vectors_out, b);
#pragma unroll
    for (int j = 0; j < 4; ++j) b[j] += c[i][j];
    const int64_t at = (tile.first + row) * s.out + m + column;
    if (s.epilogue == Epilogue::silu) store4(f.h + at, left, f.vectors_out, b);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (s.epilogue == Epilogue::relu) b[j] = b[j] > 0.0f ? b[j] : 0.0f;
      if (s.epilogue == Epilogue::silu) b[j] = Silu::value(b[j]);
    }
    store4(f.y + at, left, f.vectors_out, b);
  });
}

// dh from dy and what forward kept.
struct ReluGradient {
  static __device__ float of(float dy, float y) { return y > 0.0f ? dy : 0.0f; }
};
struct SiluGradient {
  static __device__ float of(float dy, float h) { return dy * Silu::derivative(h); }
};

// dh as an operand, from element `at` of dy and of what was kept on; make(p) is the operand that begins at p.
template <Epilogue kind, class Make>
__device__ auto gradient_operand(const GroupedGradients<float>& g, int64_t at, Make make) {
  const auto dy = make(g.dy + at);
  if constexpr (kind == Epilogue::none) {
    return dy;
  } else {
    using With = std::conditional_t<kind == Epilogue::relu, ReluGradient, SiluGradient>;
    return Combined<decltype(make(g.dy)), With>{dy, make(g.kept + at)};
  }
}

struct Backward {
  GroupedLinearShape s;
  GroupedRows where;
  bool vectors_in, vectors_out;
  GroupedGradients<float> g;
  Into<float> drows;  // for gather's backward where rows are gathered, else dx
  // Whether zeros are written to the rows that belong to nobody. Nobody reads them before gather's backward.
  bool clears_idle_rows;
  unsigned row_blocks, in_tiles, out_tiles;  // tiles of rows, 0 without drows; of columns

  // Blocks of the first kind, and tiles of columns of the second: 1 for db alone.
  MOE_HOST_DEVICE unsigned of_rows() const { return row_blocks * in_tiles; }
  MOE_HOST_DEVICE unsigned column_tiles() const { return g.dweight.to && in_tiles > 0 ? in_tiles : 1; }
};

template <class Tile, bool kGathered, Epilogue kind>
__device__ void input_gradient(const Backward& b, unsigned block, typename Tile::Memory& memory) {
  const GroupedLinearShape& s = b.s;
  const RowTile tile = find_row_tile<Tile::kSide>(s, b.where.offsets, static_cast<int>(block % b.row_blocks),
                                                  b.clears_idle_rows);
  if (tile.count == 0) return;
  using Shape = typename Tile::Shape;
  const int64_t k = static_cast<int64_t>(block / b.row_blocks) * Tile::kSide;
  const int columns = at_most<Tile::kSide>(s.in - k), out = static_cast<int>(s.out);
  float c[Tile::kOwnRows][4] = {};
  if (tile.expert < s.experts)
    multiply_tiles<Tile>(
        gradient_operand<kind>(
            b.g, tile.first * s.out,
            [&](const float* p) { return InnerAlongRows<Shape>(p, s.out, tile.count, out, b.vectors_out); }),
        InnerDownColumns<Shape>(b.g.weight + tile.expert * s.out * s.in + k, s.in, columns, out,
                                b.vectors_in),
        out, memory, c, Ignore{});
  each_row<Shape>(tile.count, columns, [&](int i, int row, int column, int left) {
    put4(b.drows, (tile.first + row) * s.in + k + column, left, b.vectors_in, c[i]);
  });
}

template <class Tile, bool kGathered, Epilogue kind>
__device__ void weight_gradient(const Backward& b, unsigned block, typename Tile::Memory& memory) {
  const GroupedLinearShape& s = b.s;
  using Shape = typename Tile::Shape;
  const unsigned column_tiles = b.column_tiles();
  const int64_t e = block / column_tiles / b.out_tiles, first = offset_of(s, b.where.offsets, e);
  const int rows = static_cast<int>(offset_of(s, b.where.offsets, e + 1) - first);
  if (rows == 0 && b.g.dweight.add) return;
  const int64_t k = static_cast<int64_t>(block % column_tiles) * Tile::kSide,
                m = static_cast<int64_t>(block / column_tiles % b.out_tiles) * Tile::kSide;
  const int height = at_most<Tile::kSide>(s.out - m), columns = at_most<Tile::kSide>(s.in - k);
  float c[Tile::kOwnRows][4] = {}, bias_sum[4] = {};
  multiply_tiles<Tile>(
      gradient_operand<kind>(
          b.g, first * s.out + m,
          [&](const float* p) { return InnerDownColumns<Shape>(p, s.out, height, rows, b.vectors_out); }),
      rows_down<Shape, kGathered>(b.where, b.g.x, first, k, s.in, columns, rows, b.vectors_in), rows, memory,
      c, [&](const float(&dh)[4]) {
#pragma unroll
        for (int j = 0; j < 4; ++j) bias_sum[j] += dh[j];
      });
  if (b.g.dbias && k == 0) store_fetched_sums<Shape>(bias_sum, height, true, b.g.dbias + e * s.out + m);
  if (!b.g.dweight.to) return;
  each_row<Shape>(height, columns, [&](int i, int row, int column, int left) {
    put4(b.g.dweight, (e * s.out + m + row) * s.in + k + column, left, b.vectors_in, c[i]);
  });
}

// Two blocks a processor at least: left to itself, the compiler saves registers and spills.
template <class Tile, bool kGathered, Epilogue kind>
__global__ void __launch_bounds__(kTileThreads, 2) grouped_linear_backward_kernel(Backward b) {
  SHARED(memory, typename Tile::Memory);
  if (blockIdx.x < b.of_rows())
    input_gradient<Tile, kGathered, kind>(b, blockIdx.x, memory);
  else
    weight_gradient<Tile, kGathered, kind>(b, blockIdx.x - b.of_rows(), memory);
}

// With fewer tiles of 64 x 64 than this, the GPUs of today have idle processors, and tiles of 32 x 32 are
// faster.
constexpr int64_t kEnoughTiles = 512;

// with<Tile, kGathered>() for current_precision() and so many tiles of 64 x 64.
template <class With>
void with_tile(const GroupedRows& where, int64_t large_tiles, With with) {
  const auto of = [&]<class Large, class Small>() {
    const auto gathered = [&]<class Tile>() {
      if (where.assignment)
        with.template operator()<Tile, true>();
      else
        with.template operator()<Tile, false>();
    };
    if (large_tiles < kEnoughTiles)
      gathered.template operator()<Small>();
    else
      gathered.template operator()<Large>();
  };
  switch (moe::cuda::usable_precision()) {
    case Precision::fp32:
      return of.template operator()<Fp32Tile<64>, Fp32Tile<32>>();
    case Precision::tf32:
      return of.template operator()<Tf32Tile<64>, Tf32Tile<32>>();
    case Precision::bf16:
      return of.template operator()<Bf16Tile<64>, Bf16Tile<32>>();
  }
}

template <class Tile, bool kGathered, Epilogue kind>
void launch_backward(const Backward& b, Stream stream) {
  const unsigned of_weights =
      b.g.dweight || b.g.dbias ? b.column_tiles() * b.out_tiles * static_cast<unsigned>(b.s.experts) : 0;
  gpu::launch<grouped_linear_backward_kernel<Tile, kGathered, kind>>(
      {b.of_rows() + of_weights, kTileThreads, 0, stream}, b);
}

}  // namespace

void grouped_linear_forward(GroupedLinearShape s, const GroupedRows& where, const float* x,
                            const float* weight, const float* bias, float*, float* h, float* y,
                            Stream stream) {
  const Forward f{s, where, in_vectors(s.in, x, weight), in_vectors(s.out, bias, h, y), x, weight, bias,
                  h, y};
  with_tile(where, int64_t{blocks_for(s.rows, 64)} * blocks_for(s.out, 64),
            [&]<class Tile, bool kGathered>() {
              gpu::launch<grouped_linear_forward_kernel<Tile, kGathered>>(
                  {dim3(row_tiles(s, where.offsets, Tile::kSide, where.offsets != nullptr),
                        blocks_for(s.out, Tile::kSide)),
                   kTileThreads, 0, stream},
                  f);
            });
}

void grouped_linear_backward(GroupedLinearShape s, const GroupedRows& where, const GroupedGradients<float>& g,
                             float*, float*, float* drows, double*, Stream stream) {
  const Into<float> to = where.assignment && g.dx ? Into<float>(drows, false) : g.dx;
  const bool clears = where.offsets && !where.assignment && !to.add;
  const bool vectors_in = in_vectors(s.in, g.x, g.weight, to.to, g.dweight.to),
             vectors_out = in_vectors(s.out, g.dy, g.kept);
  const int64_t large_tiles = blocks_for(s.in, 64) * ((to ? int64_t{blocks_for(s.rows, 64)} : 0) +
                                                      (g.dweight ? s.experts * blocks_for(s.out, 64) : 0));
  with_tile(where, large_tiles, [&]<class Tile, bool kGathered>() {
    const unsigned row_blocks = to ? row_tiles(s, where.offsets, Tile::kSide, clears) : 0;
    const Backward b{s,
                     where,
                     vectors_in,
                     vectors_out,
                     g,
                     to,
                     clears,
                     row_blocks,
                     blocks_for(s.in, Tile::kSide),
                     blocks_for(s.out, Tile::kSide)};
    switch (s.epilogue) {
      case Epilogue::none:
        return launch_backward<Tile, kGathered, Epilogue::none>(b, stream);
      case Epilogue::relu:
        return launch_backward<Tile, kGathered, Epilogue::relu>(b, stream);
      case Epilogue::silu:
        return launch_backward<Tile, kGathered, Epilogue::silu>(b, stream);
    }
  });
  if (where.assignment && g.dx)
    gather_backward({where.tokens, where.topk, s.in}, where.row, drows, g.dx, stream);
}

}  // namespace moe::kernels::cuda
