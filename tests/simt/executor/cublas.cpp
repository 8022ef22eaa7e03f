// Matrix products of cuBLAS as plain loops: column-major, float sums in the order of k, inputs in float or,
// in the handle's mode for it, rounded to tf32.

#include <cublas_v2.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "counters.h"
#include "fault.h"
#include "intrinsics.h"
#include "matrix.h"
#include "memory.h"
#include "stream.h"
#include "watch.h"

struct cublasContext {
  cudaStream_t stream = nullptr;
  cublasMath_t math = CUBLAS_DEFAULT_MATH;
};

namespace simt {
namespace {

struct Matrix {
  const float* data;
  int64_t leading;  // elements from one column to the next
  bool transposed;
};

// C = alpha op(A) op(B) + beta C; op(A) m x k, op(B) k x n, C m x n.
struct Product {
  int64_t m, n, k;
  float alpha, beta;
  Matrix a, b;
  float* c;
  int64_t c_leading;
  bool tf32;
};

// Tells the watch of each column of a matrix that lies as rows x columns.
void note(const float* x, int64_t leading, int64_t rows, int64_t columns, bool write) {
  if (!watch::on()) return;
  for (int64_t j = 0; j < columns; ++j)
    watch::copy(x + j * leading, static_cast<size_t>(rows) * sizeof(float), write);
}

// op(X) [rows, columns] in row-major order, rounded to tf32 when asked for.
std::vector<float> gather(const Matrix& x, int64_t rows, int64_t columns, bool tf32) {
  note(x.data, x.leading, x.transposed ? columns : rows, x.transposed ? rows : columns, false);
  std::vector<float> out(static_cast<size_t>(rows * columns));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      const float v = x.data[x.transposed ? j + i * x.leading : i + j * x.leading];
      out[static_cast<size_t>(i * columns + j)] = tf32 ? __uint_as_float(round_to_tf32(v)) : v;
    }
  return out;
}

void run(const Product& p) {
  const std::vector<float> a = gather(p.a, p.m, p.k, p.tf32);
  const std::vector<float> b = gather(p.b, p.k, p.n, p.tf32);
  if (p.beta != 0) note(p.c, p.c_leading, p.m, p.n, false);
  note(p.c, p.c_leading, p.m, p.n, true);
  std::vector<float> row(static_cast<size_t>(p.n));
  for (int64_t i = 0; i < p.m; ++i) {
    std::ranges::fill(row, 0.0f);
    for (int64_t l = 0; l < p.k; ++l) {
      const float factor = a[static_cast<size_t>(i * p.k + l)];
      for (int64_t j = 0; j < p.n; ++j)
        row[static_cast<size_t>(j)] += factor * b[static_cast<size_t>(l * p.n + j)];
    }
    for (int64_t j = 0; j < p.n; ++j) {
      float& c = p.c[i + j * p.c_leading];
      const float old = p.beta == 0 ? 0 : p.beta * c;  // beta 0: C may hold anything
      c = p.alpha * row[static_cast<size_t>(j)] + old;
    }
  }
  ++counters().products;
}

// Whether the matrix, rows x columns as it lies, is in device memory.
bool fits(const char* name, const float* x, int64_t leading, int64_t rows, int64_t columns) {
  if (rows == 0 || columns == 0) return true;
  const Range range = device_memory::find(x);
  const auto* const end = reinterpret_cast<const std::byte*>(x + (columns - 1) * leading + rows);
  if (range.begin && end <= range.end) return true;
  report(FaultKind::bounds,
         fmt::format("cublas: {} [{} x {}] does not lie in device memory", name, rows, columns));
  return false;
}

bool fits(const char* name, const Matrix& x, int64_t rows, int64_t columns) {
  return fits(name, x.data, x.leading, x.transposed ? columns : rows, x.transposed ? rows : columns);
}

cublasStatus_t enter(cublasHandle_t handle, const Product& p) {
  if (p.m < 0 || p.n < 0 || p.k < 0 || p.a.leading < std::max<int64_t>(1, p.a.transposed ? p.k : p.m) ||
      p.b.leading < std::max<int64_t>(1, p.b.transposed ? p.n : p.k) ||
      p.c_leading < std::max<int64_t>(1, p.m))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (p.m == 0 || p.n == 0) return CUBLAS_STATUS_SUCCESS;
  if (!fits("A", p.a, p.m, p.k) || !fits("B", p.b, p.k, p.n) || !fits("C", p.c, p.c_leading, p.m, p.n))
    return CUBLAS_STATUS_INVALID_VALUE;
  const cudaError_t entered = streams::enter(handle->stream, "cublas", [p] { run(p); });
  return entered == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // namespace
}  // namespace simt

extern "C" {

cublasStatus_t CUBLASWINAPI cublasCreate_v2(cublasHandle_t* handle) {
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t CUBLASWINAPI cublasDestroy_v2(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t CUBLASWINAPI cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t CUBLASWINAPI cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  handle->math = mode;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t CUBLASWINAPI cublasSetWorkspace_v2(cublasHandle_t, void*, size_t) {
  return CUBLAS_STATUS_SUCCESS;  // plain loops need none
}

const char* CUBLASWINAPI cublasGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "the operation completed successfully";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "the library was not initialized";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "an unsupported value or parameter was passed to the function";
    default:
      return "the program failed to execute";
  }
}

cublasStatus_t CUBLASWINAPI cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t transpose_a,
                                           cublasOperation_t transpose_b, int m, int n, int k,
                                           const float* alpha, const float* a, int lda, const float* b,
                                           int ldb, const float* beta, float* c, int ldc) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  return simt::enter(handle, {m,
                              n,
                              k,
                              *alpha,
                              *beta,
                              {a, lda, transpose_a != CUBLAS_OP_N},
                              {b, ldb, transpose_b != CUBLAS_OP_N},
                              c,
                              ldc,
                              handle->math == CUBLAS_TF32_TENSOR_OP_MATH});
}

}  // extern "C"
