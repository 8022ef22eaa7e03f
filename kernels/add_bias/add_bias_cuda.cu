// Forward: a warp owns a row of y. Backward: dx is that of add, dbias that of column_sums.cuh.

#include "kernels/add/add.h"
#include "kernels/add_bias/add_bias.h"
#include "kernels/column_sums.cuh"

namespace moe::kernels::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarp;

__global__ void add_bias_kernel(AddBiasShape s, bool vectors, const float* x, const float* bias, float* y) {
  const int64_t n = global_warp();
  if (n >= s.rows) return;
  each_piece(s.dim, [&](int64_t c, int64_t left) {
    float v[4], b[4];
    load4(x + n * s.dim + c, left, vectors, v);
    load4(bias + c, left, vectors, b);
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] += b[j];
    store4(y + n * s.dim + c, left, vectors, v);
  });
}

}  // namespace

void add_bias_forward(AddBiasShape s, const float* x, const float* bias, float* y, Stream stream) {
  if (s.dim == 0) return;
  gpu::launch<add_bias_kernel>({blocks_for(s.rows, kWarps), kThreads, 0, stream}, s,
                               in_vectors(s.dim, x, bias, y), x, bias, y);
}

void add_bias_backward(AddBiasShape s, const float* dy, float* dx, float* dbias, Stream stream) {
  if (dx) add_backward(s.rows * s.dim, dy, dx, nullptr, stream);
  if (dbias) add_column_sums(s.rows, s.dim, rows_of(dy, s.dim), dbias, stream);
}

}  // namespace moe::kernels::cuda
