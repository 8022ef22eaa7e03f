// As layer_norm.cuh says: a row of x is read, and its gradient put into dx.

#include "kernels/layer_norm/layer_norm.cuh"

namespace moe::kernels::cuda {
namespace {

struct RowsInMemory {
  const float* x;
  template <int kPieces>
  __device__ normalize::Row<kPieces> row(int64_t n, int64_t dim, bool vectors) const {
    return {x + n * dim, dim, vectors};
  }
};

struct PutIntoDx {
  Into<float> dx;
  MOE_HOST_DEVICE bool wanted() const { return dx.to != nullptr; }
  __device__ void put(int64_t i, int64_t left, bool vectors, const float (&v)[4]) const {
    put4(dx, i, left, vectors, v);
  }
};

}  // namespace

void layer_norm_forward(LayerNormShape s, double eps, const float* x, const float* gain, const float* bias,
                        float* y, float* mean, float* rstd, Stream stream) {
  normalize::forward(s, eps, in_vectors(s.dim, x, gain, bias, y), RowsInMemory{x}, gain, bias, y, mean, rstd,
                     stream);
}

void layer_norm_backward(LayerNormShape s, const float* x, const float* gain, const float* mean,
                         const float* rstd, const float* dy, Into<float> dx, float* dgain, float* dbias,
                         Stream stream) {
  const bool vectors = in_vectors(s.dim, x, gain, dy, dx.to);
  normalize::backward(normalize::Backward<PutIntoDx>{s, vectors, x, gain, mean, rstd, dy, {dx}}, dgain, dbias,
                      stream);
}

}  // namespace moe::kernels::cuda
