// Matrix products of cuBLAS as plain loops: column-major, float sums in the order of k. Inputs in float, in
// tf32 (the handle's mode or the compute type), in bfloat16 or half; see the symbols below.

#include <cublas_v2.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "counters.h"
#include "fault.h"
#include "half.h"
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
  const void* data;
  cudaDataType type;
  int64_t leading;  // elements from one column to the next
  int64_t stride;   // from one matrix of a batch to the next
  bool transposed;
};

// C = alpha op(A) op(B) + beta C; op(A) m x k, op(B) k x n, C m x n.
struct Product {
  int64_t m, n, k, batch;
  float alpha, beta;
  Matrix a, b, c;
  bool tf32;
};

size_t size_of(cudaDataType type) {
  return type == CUDA_R_32F ? 4 : 2;
}

bool known(cudaDataType type) {
  return type == CUDA_R_32F || type == CUDA_R_16BF || type == CUDA_R_16F;
}

float load(const Matrix& x, int64_t i) {
  switch (x.type) {
    case CUDA_R_16BF:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(x.data)[i]);
    case CUDA_R_16F:
      return __half2float(static_cast<const __half*>(x.data)[i]);
    default:
      return static_cast<const float*>(x.data)[i];
  }
}

void store(const Matrix& x, int64_t i, float value) {
  void* const data = const_cast<void*>(x.data);
  switch (x.type) {
    case CUDA_R_16BF:
      static_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16(value);
      return;
    case CUDA_R_16F:
      static_cast<__half*>(data)[i] = __float2half(value);
      return;
    default:
      static_cast<float*>(data)[i] = value;
  }
}

// Tells the watch of each column of a matrix that lies as rows x columns.
void note(const Matrix& x, int64_t first, int64_t rows, int64_t columns, bool write) {
  if (!watch::on()) return;
  for (int64_t j = 0; j < columns; ++j)
    watch::copy(
        static_cast<const std::byte*>(x.data) + static_cast<size_t>(first + j * x.leading) * size_of(x.type),
        static_cast<size_t>(rows) * size_of(x.type), write);
}

// op(X) [rows, columns] in row-major order, rounded to tf32 when asked for.
std::vector<float> gather(const Matrix& x, int64_t first, int64_t rows, int64_t columns, bool tf32) {
  note(x, first, x.transposed ? columns : rows, x.transposed ? rows : columns, false);
  std::vector<float> out(static_cast<size_t>(rows * columns));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      const float v = load(x, first + (x.transposed ? j + i * x.leading : i + j * x.leading));
      out[static_cast<size_t>(i * columns + j)] = tf32 ? __uint_as_float(round_to_tf32(v)) : v;
    }
  return out;
}

void run_one(const Product& p, int64_t index) {
  const std::vector<float> a = gather(p.a, index * p.a.stride, p.m, p.k, p.tf32);
  const std::vector<float> b = gather(p.b, index * p.b.stride, p.k, p.n, p.tf32);
  const int64_t first = index * p.c.stride;
  if (p.beta != 0) note(p.c, first, p.m, p.n, false);
  note(p.c, first, p.m, p.n, true);
  std::vector<float> row(static_cast<size_t>(p.n));
  for (int64_t i = 0; i < p.m; ++i) {
    std::ranges::fill(row, 0.0f);
    for (int64_t l = 0; l < p.k; ++l) {
      const float factor = a[static_cast<size_t>(i * p.k + l)];
      for (int64_t j = 0; j < p.n; ++j)
        row[static_cast<size_t>(j)] += factor * b[static_cast<size_t>(l * p.n + j)];
    }
    for (int64_t j = 0; j < p.n; ++j) {
      const int64_t at = first + i + j * p.c.leading;
      const float old = p.beta == 0 ? 0 : p.beta * load(p.c, at);  // beta 0: C may hold anything
      store(p.c, at, p.alpha * row[static_cast<size_t>(j)] + old);
    }
  }
}

// Whether the matrix, rows x columns as it lies, is in device memory.
bool fits(const char* name, const Matrix& x, int64_t rows, int64_t columns, int64_t batch) {
  if (rows == 0 || columns == 0 || batch == 0) return true;
  const int64_t elements = (batch - 1) * x.stride + (columns - 1) * x.leading + rows;
  const Range range = device_memory::find(x.data);
  const auto* const end =
      static_cast<const std::byte*>(x.data) + static_cast<size_t>(elements) * size_of(x.type);
  if (range.begin && end <= range.end) return true;
  report(FaultKind::bounds,
         fmt::format("cublas: {} [{} x {}] does not lie in device memory", name, rows, columns));
  return false;
}

cublasStatus_t enter(cublasHandle_t handle, Product p) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (p.m < 0 || p.n < 0 || p.k < 0 || p.batch < 0 ||
      p.a.leading < std::max<int64_t>(1, p.a.transposed ? p.k : p.m) ||
      p.b.leading < std::max<int64_t>(1, p.b.transposed ? p.n : p.k) ||
      p.c.leading < std::max<int64_t>(1, p.m))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (!known(p.a.type) || p.b.type != p.a.type || !known(p.c.type)) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (p.m == 0 || p.n == 0 || p.batch == 0) return CUBLAS_STATUS_SUCCESS;
  if (!fits("A", p.a, p.a.transposed ? p.k : p.m, p.a.transposed ? p.m : p.k, p.batch) ||
      !fits("B", p.b, p.b.transposed ? p.n : p.k, p.b.transposed ? p.k : p.n, p.batch) ||
      !fits("C", p.c, p.m, p.n, p.batch))
    return CUBLAS_STATUS_INVALID_VALUE;
  p.tf32 = p.a.type == CUDA_R_32F && (p.tf32 || handle->math == CUBLAS_TF32_TENSOR_OP_MATH);
  const cudaError_t entered = streams::enter(handle->stream, "cublas", [p] {
    ++counters().products;
    for (int64_t i = 0; i < p.batch; ++i) run_one(p, i);
  });
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

cublasStatus_t CUBLASWINAPI cublasGetStream_v2(cublasHandle_t handle, cudaStream_t* stream) {
  *stream = handle->stream;
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
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "the functionality requested is not supported";
    default:
      return "the program failed to execute";
  }
}

cublasStatus_t CUBLASWINAPI cublasGemmStridedBatchedEx(
    cublasHandle_t handle, cublasOperation_t transpose_a, cublasOperation_t transpose_b, int m, int n, int k,
    const void* alpha, const void* a, cudaDataType type_a, int lda, long long stride_a, const void* b,
    cudaDataType type_b, int ldb, long long stride_b, const void* beta, void* c, cudaDataType type_c, int ldc,
    long long stride_c, int batch, cublasComputeType_t compute, cublasGemmAlgo_t) {
  if (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_PEDANTIC &&
      compute != CUBLAS_COMPUTE_32F_FAST_TF32)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  return simt::enter(handle, {m,
                              n,
                              k,
                              batch,
                              *static_cast<const float*>(alpha),
                              *static_cast<const float*>(beta),
                              {a, type_a, lda, stride_a, transpose_a != CUBLAS_OP_N},
                              {b, type_b, ldb, stride_b, transpose_b != CUBLAS_OP_N},
                              {c, type_c, ldc, stride_c, false},
                              compute == CUBLAS_COMPUTE_32F_FAST_TF32});
}

cublasStatus_t CUBLASWINAPI cublasGemmEx(cublasHandle_t handle, cublasOperation_t transpose_a,
                                         cublasOperation_t transpose_b, int m, int n, int k,
                                         const void* alpha, const void* a, cudaDataType type_a, int lda,
                                         const void* b, cudaDataType type_b, int ldb, const void* beta,
                                         void* c, cudaDataType type_c, int ldc, cublasComputeType_t compute,
                                         cublasGemmAlgo_t algorithm) {
  return cublasGemmStridedBatchedEx(handle, transpose_a, transpose_b, m, n, k, alpha, a, type_a, lda, 0, b,
                                    type_b, ldb, 0, beta, c, type_c, ldc, 0, 1, compute, algorithm);
}

cublasStatus_t CUBLASWINAPI cublasSgemmStridedBatched(cublasHandle_t handle, cublasOperation_t transpose_a,
                                                      cublasOperation_t transpose_b, int m, int n, int k,
                                                      const float* alpha, const float* a, int lda,
                                                      long long stride_a, const float* b, int ldb,
                                                      long long stride_b, const float* beta, float* c,
                                                      int ldc, long long stride_c, int batch) {
  return cublasGemmStridedBatchedEx(handle, transpose_a, transpose_b, m, n, k, alpha, a, CUDA_R_32F, lda,
                                    stride_a, b, CUDA_R_32F, ldb, stride_b, beta, c, CUDA_R_32F, ldc,
                                    stride_c, batch, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
}

cublasStatus_t CUBLASWINAPI cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t transpose_a,
                                           cublasOperation_t transpose_b, int m, int n, int k,
                                           const float* alpha, const float* a, int lda, const float* b,
                                           int ldb, const float* beta, float* c, int ldc) {
  return cublasSgemmStridedBatched(handle, transpose_a, transpose_b, m, n, k, alpha, a, lda, 0, b, ldb, 0,
                                   beta, c, ldc, 0, 1);
}

}  // extern "C"
