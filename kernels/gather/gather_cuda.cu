// A thread owns four elements of a row: of `rows` forward, of dx backward, where it adds its token's k rows
// in the order of the slots. Every row is read once.

#include "kernels/gather/gather.h"
#include "kernels/grid.cuh"
#include "kernels/vectors.cuh"

namespace moe::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void gather_forward_kernel(GatherShape s, bool vectors, const int32_t* assignment, const float* x,
                                      float* rows) {
  const int64_t pieces = (s.dim + 3) / 4, item = global_thread();
  if (item >= s.tokens * s.topk * pieces) return;
  const int64_t r = item / pieces, c = item % pieces * 4;
  const int32_t a = assignment[r];
  float v[4] = {0, 0, 0, 0};
  if (a >= 0) load4(x + a / s.topk * s.dim + c, s.dim - c, vectors, v);
  store4(rows + r * s.dim + c, s.dim - c, vectors, v);
}

__global__ void gather_backward_kernel(GatherShape s, bool vectors, const int32_t* row, const float* drows,
                                       float* dx) {
  const int64_t pieces = (s.dim + 3) / 4, item = global_thread();
  if (item >= s.tokens * pieces) return;
  const int64_t n = item / pieces, c = item % pieces * 4, left = s.dim - c;
  float sum[4];
  load4(dx + n * s.dim + c, left, vectors, sum);
  for (int64_t j = 0; j < s.topk; ++j) {
    const int64_t r = row[n * s.topk + j];
    if (r < 0) continue;
    float v[4];
    load4(drows + r * s.dim + c, left, vectors, v);
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i] += v[i];
  }
  store4(dx + n * s.dim + c, left, vectors, sum);
}

}  // namespace

void gather_forward(GatherShape s, const int32_t* assignment, const float* x, float* rows, Stream stream) {
  const int64_t items = s.tokens * s.topk * ((s.dim + 3) / 4);
  gpu::launch<gather_forward_kernel>({blocks_for(items, kThreads), kThreads, 0, stream}, s,
                                     in_vectors(s.dim, x, rows), assignment, x, rows);
}

void gather_backward(GatherShape s, const int32_t* row, const float* drows, float* dx, Stream stream) {
  if (!dx) return;
  const int64_t items = s.tokens * ((s.dim + 3) / 4);
  gpu::launch<gather_backward_kernel>({blocks_for(items, kThreads), kThreads, 0, stream}, s,
                                      in_vectors(s.dim, drows, dx), row, drows, dx);
}

}  // namespace moe::kernels::cuda
