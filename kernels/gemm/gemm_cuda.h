#pragma once
// Dense matrix products on the GPU, by cuBLAS.

#include <cstdint>

#include "core/device.h"

namespace moe::kernels::cuda {

// A row-major matrix: element (i, j) is x[i * stride + j], or x[j * stride + i] when transposed.
struct Matrix {
  const float* x;
  int64_t stride;
  bool transposed = false;
};

// C [m, n] = A [m, k] B [k, n], or C += A B when `accumulate`, in single precision; C's rows are n apart. Any
// extent may be 0. The same bits every time on the same GPU. Throws ErrorKind::runtime, with cuBLAS's own
// words, when it refuses.
void gemm(int64_t m, int64_t n, int64_t k, Matrix a, Matrix b, bool accumulate, float* c, Stream);

}  // namespace moe::kernels::cuda
