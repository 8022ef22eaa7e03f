// Forward: a thread owns four elements of a row of y. Backward: four elements of dx; for dbias see
// column_sums.cuh.

#include "kernels/add_bias/add_bias.h"
#include "kernels/column_sums.cuh"
#include "kernels/elementwise.cuh"

namespace moe::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void add_bias_kernel(AddBiasShape s, bool vectors, const float* x, const float* bias, float* y) {
  const int64_t pieces = (s.dim + 3) / 4, item = global_thread();
  if (item >= s.rows * pieces) return;
  const int64_t c = item % pieces * 4, at = item / pieces * s.dim + c;
  float v[4], b[4];
  load4(x + at, s.dim - c, vectors, v);
  load4(bias + c, s.dim - c, vectors, b);
#pragma unroll
  for (int j = 0; j < 4; ++j) v[j] += b[j];
  store4(y + at, s.dim - c, vectors, v);
}

// in = dx, dy
struct Sum {
  __device__ void operator()(int64_t, const float (&in)[2][4], float (&dx)[1][4]) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) dx[0][j] = in[0][j] + in[1][j];
  }
};

}  // namespace

void add_bias_forward(AddBiasShape s, const float* x, const float* bias, float* y, Stream stream) {
  const int64_t items = s.rows * ((s.dim + 3) / 4);
  gpu::launch<add_bias_kernel>({blocks_for(items, kThreads), kThreads, 0, stream}, s,
                               in_vectors(s.dim, x, bias, y), x, bias, y);
}

void add_bias_backward(AddBiasShape s, const float* dy, float* dx, float* dbias, Stream stream) {
  if (dx) elementwise<2, 1>(s.rows * s.dim, {{dx, dy}}, {{dx}}, Sum{}, stream);
  if (dbias) add_column_sums(s.rows, s.dim, rows_of(dy, s.dim), dbias, stream);
}

}  // namespace moe::kernels::cuda
