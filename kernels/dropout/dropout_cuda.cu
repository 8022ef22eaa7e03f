// A thread owns four elements of the output, which take the four draws of one block of the cipher; every
// array is read or written once.

#include "kernels/dropout/dropout.h"
#include "kernels/elementwise.cuh"
#include "kernels/random.cuh"

namespace moe::kernels::cuda {
namespace {

struct Dropout {
  uint32_t threshold;
  float scale;
  RngAddress rng;

  __device__ void kept(int64_t i, const float (&x)[4], float (&y)[4]) const {
    uint32_t draw[4];
    draw4(rng, static_cast<uint64_t>(i), draw);
#pragma unroll
    for (int j = 0; j < 4; ++j) y[j] = draw[j] >= threshold ? x[j] * scale : 0.0f;
  }
};

struct Drop : Dropout {
  __device__ void operator()(int64_t i, const float (&x)[1][4], float (&y)[1][4]) const {
    kept(i, x[0], y[0]);
  }
};

// in = dx, dy
struct AddDropped : Dropout {
  __device__ void operator()(int64_t i, const float (&in)[2][4], float (&dx)[1][4]) const {
    kept(i, in[1], dx[0]);
#pragma unroll
    for (int j = 0; j < 4; ++j) dx[0][j] += in[0][j];
  }
};

}  // namespace

void dropout_forward(int64_t n, DropRule rule, const RngAddress& rng, const float* x, float* y,
                     Stream stream) {
  elementwise<1, 1>(n, {{x}}, {{y}}, Drop{{rule.threshold, static_cast<float>(rule.scale), rng}}, stream);
}

void dropout_backward(int64_t n, DropRule rule, const RngAddress& rng, const float* dy, float* dx,
                      Stream stream) {
  if (!dx) return;
  elementwise<2, 1>(n, {{dx, dy}}, {{dx}}, AddDropped{{rule.threshold, static_cast<float>(rule.scale), rng}},
                    stream);
}

}  // namespace moe::kernels::cuda
