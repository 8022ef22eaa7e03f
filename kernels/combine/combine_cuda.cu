// Forward: a warp owns a row of y and adds its token's k rows in the order of the slots; every row is read
// once. Backward: a warp owns an assignment, its row of drows and its element of dgate; it
// reads its row once, and dy[n] is read by the k warps of its token.

#include "kernels/combine/combine.h"
#include "kernels/reduce.cuh"
#include "kernels/vectors.cuh"

namespace moe::kernels::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarp;

__global__ void combine_forward_kernel(CombineShape s, bool vectors, const float* rows, const float* gate,
                                       const int32_t* row, float* y) {
  const int64_t n = global_warp();
  if (n >= s.tokens) return;
  each_piece(s.dim, [&](int64_t c, int64_t left) {
    float sum[4] = {0, 0, 0, 0};
    for (int64_t a = n * s.topk; a < (n + 1) * s.topk; ++a) {
      const int64_t r = row[a];
      if (r < 0) continue;
      float v[4];
      load4(rows + r * s.dim + c, left, vectors, v);
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[i] += gate[a] * v[i];
    }
    store4(y + n * s.dim + c, left, vectors, sum);
  });
}

__global__ void combine_backward_kernel(CombineShape s, bool vectors, const float* rows, const float* gate,
                                        const int32_t* row, const float* dy, float* drows, float* dgate) {
  const int64_t a = global_warp();
  if (a >= s.tokens * s.topk) return;
  const int64_t r = row[a];
  if (r < 0) return;
  const float *y = dy + a / s.topk * s.dim, *x = rows + r * s.dim;
  float* const dx = drows ? drows + r * s.dim : nullptr;
  const float g = gate[a];
  float product = 0;
  each_piece(s.dim, [&](int64_t c, int64_t left) {
    float d[4], v[4];
    load4(y + c, left, vectors, d);
    if (dgate) {
      load4(x + c, left, vectors, v);
#pragma unroll
      for (int i = 0; i < 4; ++i) product += v[i] * d[i];
    }
    if (!dx) return;
    load4(dx + c, left, vectors, v);
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] += g * d[i];
    store4(dx + c, left, vectors, v);
  });
  if (!dgate) return;
  product = group_sum(product);
  if (threadIdx.x % kWarp == 0) dgate[a] += product;
}

}  // namespace

void combine_forward(CombineShape s, const float* rows, const float* gate, const int32_t* row, float* y,
                     Stream stream) {
  if (s.dim == 0) return;
  gpu::launch<combine_forward_kernel>({blocks_for(s.tokens, kWarps), kThreads, 0, stream}, s,
                                      in_vectors(s.dim, rows, y), rows, gate, row, y);
}

void combine_backward(CombineShape s, const float* rows, const float* gate, const int32_t* row,
                      const float* dy, float* drows, float* dgate, Stream stream) {
  if (!drows && !dgate) return;
  gpu::launch<combine_backward_kernel>({blocks_for(s.tokens * s.topk, kWarps), kThreads, 0, stream}, s,
                                       in_vectors(s.dim, rows, dy, drows), rows, gate, row, dy, drows, dgate);
}

}  // namespace moe::kernels::cuda
