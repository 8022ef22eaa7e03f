// A warp owns a row: of `rows` forward, of dx backward, where it adds its token's k rows in the order of the
// slots. Every row is read once.

#include "kernels/gather/gather.h"
#include "kernels/grid.cuh"
#include "kernels/vectors.cuh"

namespace moe::kernels::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarp;

__global__ void gather_forward_kernel(GatherShape s, bool vectors, const int32_t* assignment, const float* x,
                                      float* rows) {
  const int64_t r = global_warp();
  if (r >= s.tokens * s.topk) return;
  const int32_t a = assignment[r];
  const float* const from = a < 0 ? nullptr : x + int64_t{a / static_cast<int32_t>(s.topk)} * s.dim;
  each_piece(s.dim, [&](int64_t c, int64_t left) {
    float v[4] = {0, 0, 0, 0};
    if (from) load4(from + c, left, vectors, v);
    store4(rows + r * s.dim + c, left, vectors, v);
  });
}

__global__ void gather_backward_kernel(GatherShape s, bool vectors, const int32_t* row, const float* drows,
                                       Into<float> dx) {
  const int64_t n = global_warp();
  if (n >= s.tokens) return;
  each_piece(s.dim, [&](int64_t c, int64_t left) {
    float sum[4] = {0, 0, 0, 0};
    if (dx.add) load4(dx.to + n * s.dim + c, left, vectors, sum);
    for (int64_t j = 0; j < s.topk; ++j) {
      const int64_t r = row[n * s.topk + j];
      if (r < 0) continue;
      float v[4];
      load4(drows + r * s.dim + c, left, vectors, v);
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[i] += v[i];
    }
    store4(dx.to + n * s.dim + c, left, vectors, sum);
  });
}

}  // namespace

void gather_forward(GatherShape s, const int32_t* assignment, const float* x, float* rows, Stream stream) {
  if (s.dim == 0) return;
  gpu::launch<gather_forward_kernel>({blocks_for(s.tokens * s.topk, kWarps), kThreads, 0, stream}, s,
                                     in_vectors(s.dim, x, rows), assignment, x, rows);
}

void gather_backward(GatherShape s, const int32_t* row, const float* drows, Into<float> dx, Stream stream) {
  if (!dx || s.dim == 0) return;
  gpu::launch<gather_backward_kernel>({blocks_for(s.tokens, kWarps), kThreads, 0, stream}, s,
                                      in_vectors(s.dim, drows, dx.to), row, drows, dx);
}

}  // namespace moe::kernels::cuda
