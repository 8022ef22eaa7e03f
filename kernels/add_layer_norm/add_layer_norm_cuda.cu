// As kernels/layer_norm/layer_norm.cuh says. A row of sum is made where layer_norm reads its x, and stays in
// registers; its gradient goes to dx and dy at once. Every array is read or written once.

#include "kernels/add_layer_norm/add_layer_norm.h"
#include "kernels/layer_norm/layer_norm.cuh"
#include "kernels/random.cuh"

namespace moe::kernels::cuda {
namespace {

struct RowsOfSums {
  DropRule rule;
  RngAddress rng;
  const float *x, *y;
  float* sum;

  template <int kPieces>
  __device__ normalize::Row<kPieces> row(int64_t n, int64_t dim, bool vectors) const {
    const int64_t at = n * dim;
    return {sum + at, dim, vectors, [&](int64_t c, int64_t left, float(&v)[4]) {
              float branch[4];
              load4(x + at + c, left, vectors, v);
              load4(y + at + c, left, vectors, branch);
              if (rule.drops()) drop4(rule, rng, at + c, branch);
#pragma unroll
              for (int j = 0; j < 4; ++j) v[j] += branch[j];
              store4(sum + at + c, left, vectors, v);
            }};
  }
};

struct PutIntoBoth {
  DropRule rule;
  RngAddress rng;
  const float* dsum;
  Into<float> dx, dy;

  MOE_HOST_DEVICE bool wanted() const { return dx.to || dy.to; }
  __device__ void put(int64_t i, int64_t left, bool vectors, float (&v)[4]) const {
    if (dsum) {
      float more[4];
      load4(dsum + i, left, vectors, more);
#pragma unroll
      for (int j = 0; j < 4; ++j) v[j] += more[j];
    }
    if (dx.to) put4(dx, i, left, vectors, v);
    if (!dy.to) return;
    if (rule.drops()) drop4(rule, rng, i, v);
    put4(dy, i, left, vectors, v);
  }
};

}  // namespace

void add_layer_norm_forward(LayerNormShape s, double eps, DropRule rule, const RngAddress& rng,
                            const float* x, const float* y, const float* gain, const float* bias, float* sum,
                            float* out, float* mean, float* rstd, Stream stream) {
  normalize::forward(s, eps, in_vectors(s.dim, x, y, gain, bias, sum, out), RowsOfSums{rule, rng, x, y, sum},
                     gain, bias, out, mean, rstd, stream);
}

void add_layer_norm_backward(LayerNormShape s, DropRule rule, const RngAddress& rng, const float* sum,
                             const float* gain, const float* mean, const float* rstd, const float* dsum,
                             const float* dout, Into<float> dx, Into<float> dy, float* dgain, float* dbias,
                             Stream stream) {
  const bool vectors = in_vectors(s.dim, sum, gain, dsum, dout, dx.to, dy.to);
  normalize::backward(
      normalize::Backward<PutIntoBoth>{s, vectors, sum, gain, mean, rstd, dout, {rule, rng, dsum, dx, dy}},
      dgain, dbias, stream);
}

}  // namespace moe::kernels::cuda
