// Forward: a warp owns a row of y and adds its token's k rows in the order of the slots; every row is read
// once. Backward: a warp owns an assignment, its row of drows and its element of dgate, and where it is its
// token's first one the row of dx; it reads its row once, and dy[n] is read by the k warps of its token.

#include "kernels/combine/combine.h"
#include "kernels/random.cuh"
#include "kernels/reduce.cuh"
#include "kernels/vectors.cuh"

namespace moe::kernels::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarp;

__global__ void combine_forward_kernel(CombineShape s, bool vectors, const float* x, const float* rows,
                                       const float* gate, const int32_t* row, float* y) {
  const int64_t n = global_warp();
  if (n >= s.tokens) return;
  each_piece(s.dim, [&](int64_t c, int64_t left) {
    float sum[4] = {0, 0, 0, 0};
    for (int64_t a = n * s.topk; a < (n + 1) * s.topk; ++a) {
      const int64_t r = row[a];
      if (r < 0) continue;
      float v[4];
      load4(rows + r * s.dim + c, left, vectors, v);
      if (s.drop.drops()) drop4(s.drop, s.rng, r * s.dim + c, v);
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[i] += gate[a] * v[i];
    }
    if (x) {
      float residual[4];
      load4(x + n * s.dim + c, left, vectors, residual);
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[i] += residual[i];
    }
    store4(y + n * s.dim + c, left, vectors, sum);
  });
}

__global__ void combine_backward_kernel(CombineShape s, bool vectors, const float* rows, const float* gate,
                                        const int32_t* row, const float* dy, Into<float> dx, float* drows,
                                        float* dgate) {
  const int64_t a = global_warp();
  if (a >= s.tokens * s.topk) return;
  const int64_t r = row[a], n = a / s.topk;
  const bool owns_dx = dx.to && a % s.topk == 0;
  if (r < 0 && !owns_dx) return;
  const float g = gate[a];
  float product = 0;
  each_piece(s.dim, [&](int64_t c, int64_t left) {
    float d[4];
    load4(dy + n * s.dim + c, left, vectors, d);
    if (owns_dx) put4(dx, n * s.dim + c, left, vectors, d);
    if (r < 0) return;
    const int64_t at = r * s.dim + c;
    bool keep[4];
    if (s.drop.drops()) keep4(s.drop, s.rng, at, keep);
    if (dgate) {
      float v[4];
      load4(rows + at, left, vectors, v);
      if (s.drop.drops()) drop(s.drop, keep, v);
#pragma unroll
      for (int i = 0; i < 4; ++i) product += v[i] * d[i];
    }
    if (!drows) return;
#pragma unroll
    for (int i = 0; i < 4; ++i) d[i] *= g;
    if (s.drop.drops()) drop(s.drop, keep, d);
    add4(drows + at, left, vectors, d);
  });
  if (!dgate || r < 0) return;
  product = group_sum(product);
  if (threadIdx.x % kWarp == 0) dgate[a] += product;
}

}  // namespace

void combine_forward(const CombineShape& s, const float* x, const float* rows, const float* gate,
                     const int32_t* row, float* y, Stream stream) {
  if (s.dim == 0) return;
  gpu::launch<combine_forward_kernel>({blocks_for(s.tokens, kWarps), kThreads, 0, stream}, s,
                                      in_vectors(s.dim, x, rows, y), x, rows, gate, row, y);
}

void combine_backward(const CombineShape& s, const float* rows, const float* gate, const int32_t* row,
                      const float* dy, Into<float> dx, float* drows, float* dgate, Stream stream) {
  if (!dx && !drows && !dgate) return;
  gpu::launch<combine_backward_kernel>({blocks_for(s.tokens * s.topk, kWarps), kThreads, 0, stream}, s,
                                       in_vectors(s.dim, rows, dy, dx.to, drows), rows, gate, row, dy, dx,
                                       drows, dgate);
}

}  // namespace moe::kernels::cuda
