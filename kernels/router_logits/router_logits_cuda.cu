// One launch each way, in fp32 tiles of 32 x 32 (kernels/tiles.cuh): experts are few.
//
//   forward      a block owns 32 tokens x 32 experts of one of the projections
//   backward, two kinds of blocks side by side:
//   dx           32 tokens x 32 channels: first what the second projection gives, then the first
//   dweight      32 experts x 32 channels of one projection, over a run of tokens; the blocks of the first
//                channels own 32 elements of dbias too. With several runs each writes its sums, and
//                column_sums.cuh adds them up in order.
//
// x is read once for every 32 experts; in backward dlogits once for every 32 channels.

#include "core/philox.h"
#include "kernels/column_sums.cuh"
#include "kernels/router_logits/router_logits.h"
#include "kernels/tiles.cuh"

namespace moe::kernels::cuda {
namespace {

using Tile = Fp32Tile<32>;
using Shape = Tile::Shape;
constexpr int64_t kTokenRun = 1024;  // tokens a block of dweight walks through, or more of very many

struct Forward {
  RouterLogitsShape s;
  bool vectors_in, vectors_out;
  const float* x;
  RouterWeights<float> w;
  float* logits[2];
};

__global__ void __launch_bounds__(kTileThreads) router_logits_forward_kernel(Forward f) {
  SHARED(memory, Tile::Memory);
  const RouterLogitsShape& s = f.s;
  const bool second = blockIdx.z > 0;
  const float *const weight = second ? f.w.weight[1] : f.w.weight[0], *const bias =
                                                                          second ? f.w.bias[1] : f.w.bias[0];
  float* const logits = second ? f.logits[1] : f.logits[0];
  const int64_t n = static_cast<int64_t>(blockIdx.x) * Tile::kSide,
                e = static_cast<int64_t>(blockIdx.y) * Tile::kSide;
  const int rows = at_most<Tile::kSide>(s.tokens - n), columns = at_most<Tile::kSide>(s.experts - e),
            dim = static_cast<int>(s.dim);
  float c[Tile::kOwnRows][4] = {};
  multiply_tiles<Tile>(InnerAlongRows<Shape>(f.x + n * s.dim, s.dim, rows, dim, f.vectors_in),
                       InnerAlongRows<Shape>(weight + e * s.dim, s.dim, columns, dim, f.vectors_in), dim,
                       memory, c, Ignore{});
  each_row<Shape>(rows, columns, [&](int i, int row, int column, int left) {
    float b[4] = {0, 0, 0, 0};
    if (bias) load4(bias + e + column, left, f.vectors_out, b);
#pragma unroll
    for (int j = 0; j < 4; ++j) b[j] += c[i][j];
    store4(logits + (n + row) * s.experts + e + column, left, f.vectors_out, b);
  });
}

struct Backward {
  RouterLogitsShape s;
  bool vectors_in, vectors_out;
  const float* x;
  RouterWeights<float> w;
  RouterGradients<float> g;
  unsigned row_tiles, in_tiles, out_tiles, runs;
  int64_t run;                           // tokens a run
  float *partial_weight, *partial_bias;  // [count, runs, E, C] and [count, runs, E] with several runs

  MOE_HOST_DEVICE unsigned of_rows() const { return g.dx ? row_tiles * in_tiles : 0; }  // blocks for dx
};

__device__ void input_gradient(const Backward& b, unsigned block, Tile::Memory& memory) {
  const RouterLogitsShape& s = b.s;
  const int64_t n = static_cast<int64_t>(block % b.row_tiles) * Tile::kSide,
                k = static_cast<int64_t>(block / b.row_tiles) * Tile::kSide;
  const int rows = at_most<Tile::kSide>(s.tokens - n), columns = at_most<Tile::kSide>(s.dim - k),
            experts = static_cast<int>(s.experts);
  float c[Tile::kOwnRows][4] = {};
  const auto add = [&](const float* dlogits, const float* weight) {
    if (!dlogits) return;
    __syncthreads();  // all have done with the product before
    multiply_tiles<Tile>(
        InnerAlongRows<Shape>(dlogits + n * s.experts, s.experts, rows, experts, b.vectors_out),
        InnerDownColumns<Shape>(weight + k, s.dim, columns, experts, b.vectors_in), experts, memory, c,
        Ignore{});
  };
  if (s.count > 1) add(b.g.dlogits[1], b.w.weight[1]);
  add(b.g.dlogits[0], b.w.weight[0]);
  each_row<Shape>(rows, columns, [&](int i, int row, int column, int left) {
    add4(b.g.dx + (n + row) * s.dim + k + column, left, b.vectors_in, c[i]);
  });
}

__device__ void weight_gradient(const Backward& b, unsigned block, Tile::Memory& memory) {
  const RouterLogitsShape& s = b.s;
  const unsigned tile = block % (b.in_tiles * b.out_tiles), of = block / (b.in_tiles * b.out_tiles);
  const unsigned run = of % b.runs;
  const bool second = of >= b.runs, add = b.runs == 1;
  const float* const dlogits = second ? b.g.dlogits[1] : b.g.dlogits[0];
  if (!dlogits) return;
  float* const dweight =
      add ? (second ? b.g.dweight[1] : b.g.dweight[0]) : b.partial_weight + int64_t{of} * s.experts * s.dim;
  float* const dbias =
      add ? (second ? b.g.dbias[1] : b.g.dbias[0]) : b.partial_bias + int64_t{of} * s.experts;
  const int64_t k = static_cast<int64_t>(tile % b.in_tiles) * Tile::kSide,
                e = static_cast<int64_t>(tile / b.in_tiles) * Tile::kSide, first = int64_t{run} * b.run;
  const int height = at_most<Tile::kSide>(s.experts - e), columns = at_most<Tile::kSide>(s.dim - k),
            tokens = static_cast<int>(s.tokens - first < b.run ? s.tokens - first : b.run);
  float c[Tile::kOwnRows][4] = {}, bias_sum[4] = {};
  multiply_tiles<Tile>(
      InnerDownColumns<Shape>(dlogits + first * s.experts + e, s.experts, height, tokens, b.vectors_out),
      InnerDownColumns<Shape>(b.x + first * s.dim + k, s.dim, columns, tokens, b.vectors_in), tokens, memory,
      c, [&](const float(&d)[4]) {
#pragma unroll
        for (int j = 0; j < 4; ++j) bias_sum[j] += d[j];
      });
  if (dbias && k == 0) store_fetched_sums<Shape>(bias_sum, height, add, dbias + e);
  if (!dweight) return;
  each_row<Shape>(height, columns, [&](int i, int row, int column, int left) {
    float* const to = dweight + (e + row) * s.dim + k + column;
    if (add)
      add4(to, left, b.vectors_in, c[i]);
    else
      store4(to, left, b.vectors_in, c[i]);
  });
}

__global__ void __launch_bounds__(kTileThreads) router_logits_backward_kernel(Backward b) {
  SHARED(memory, Tile::Memory);
  if (blockIdx.x < b.of_rows())
    input_gradient(b, blockIdx.x, memory);
  else
    weight_gradient(b, blockIdx.x - b.of_rows(), memory);
}

}  // namespace

void router_logits_forward(RouterLogitsShape s, const float* x, const RouterWeights<float>& w, float* logits,
                           float* noise_logits, Stream stream) {
  const Forward f{s,
                  in_vectors(s.dim, x, w.weight[0], w.weight[1]),
                  in_vectors(s.experts, w.bias[0], w.bias[1], logits, noise_logits),
                  x,
                  w,
                  {logits, noise_logits}};
  gpu::launch<router_logits_forward_kernel>(
      {dim3(blocks_for(s.tokens, Tile::kSide), blocks_for(s.experts, Tile::kSide),
            static_cast<unsigned>(s.count)),
       kTileThreads, 0, stream},
      f);
}

void router_logits_backward(RouterLogitsShape s, const float* x, const RouterWeights<float>& w,
                            const RouterGradients<float>& g, Stream stream) {
  // So few runs that column_sums.cuh adds them up in one launch, without scratch of its own.
  const int64_t run = run_length(s.tokens, kTokenRun, kSumRun);
  Backward b{s,
             in_vectors(s.dim, x, w.weight[0], w.weight[1], g.dx, g.dweight[0], g.dweight[1]),
             in_vectors(s.experts, g.dlogits[0], g.dlogits[1]),
             x,
             w,
             g,
             blocks_for(s.tokens, Tile::kSide),
             blocks_for(s.dim, Tile::kSide),
             blocks_for(s.experts, Tile::kSide),
             blocks_for(s.tokens, run),
             run,
             nullptr,
             nullptr};
  const auto count = static_cast<unsigned>(s.count);
  const int64_t weights = s.experts * s.dim;
  if (b.runs > 1) {
    b.partial_weight = scratch<float>(count * b.runs * (weights + s.experts), stream);
    b.partial_bias = b.partial_weight + count * b.runs * weights;
  }
  gpu::launch<router_logits_backward_kernel>(
      {b.of_rows() + count * b.runs * b.in_tiles * b.out_tiles, kTileThreads, 0, stream}, b);
  for (unsigned i = 0; b.runs > 1 && i < count; ++i) {
    if (!g.dlogits[i]) continue;
    const int64_t runs = b.runs;
    if (g.dweight[i])
      add_column_sums(runs, weights, rows_of(b.partial_weight + i * runs * weights, weights), g.dweight[i],
                      stream);
    if (g.dbias[i])
      add_column_sums(runs, s.experts, rows_of(b.partial_bias + i * runs * s.experts, s.experts), g.dbias[i],
                      stream);
  }
}

}  // namespace moe::kernels::cuda
