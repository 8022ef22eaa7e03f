// A thread owns four elements of the output, which take the four draws of one block of the cipher; every
// array is read or written once.

#include "kernels/dropout/dropout.h"
#include "kernels/elementwise.cuh"
#include "kernels/random.cuh"

namespace moe::kernels::cuda {
namespace {

struct Drop {
  DropRule rule;
  RngAddress rng;
  __device__ void operator()(int64_t i, const float (&x)[1][4], float (&y)[1][4]) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) y[0][j] = x[0][j];
    drop4(rule, rng, i, y[0]);
  }
};

// in = dx, dy
struct AddDropped {
  DropRule rule;
  RngAddress rng;
  __device__ void operator()(int64_t i, const float (&in)[2][4], float (&dx)[1][4]) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) dx[0][j] = in[1][j];
    drop4(rule, rng, i, dx[0]);
#pragma unroll
    for (int j = 0; j < 4; ++j) dx[0][j] += in[0][j];
  }
};

}  // namespace

void dropout_forward(int64_t n, DropRule rule, const RngAddress& rng, const float* x, float* y,
                     Stream stream) {
  elementwise<1, 1>(n, {{x}}, {{y}}, Drop{rule, rng}, stream);
}

void dropout_backward(int64_t n, DropRule rule, const RngAddress& rng, const float* dy, float* dx,
                      Stream stream) {
  if (!dx) return;
  elementwise<2, 1>(n, {{dx, dy}}, {{dx}}, AddDropped{rule, rng}, stream);
}

}  // namespace moe::kernels::cuda
