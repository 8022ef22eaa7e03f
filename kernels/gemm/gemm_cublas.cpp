// cuBLAS thinks in columns: a row-major matrix is the transpose of what it sees. So it is asked for
// C^T = B^T A^T, which needs no data to be moved.

#include "kernels/gemm/gemm_cuda.h"

#ifdef MOE_WITH_CUDA

#include <cublas_v2.h>

#include <algorithm>
#include <limits>
#include <string>

#include "core/cuda_memory.h"
#include "core/error.h"
#include "core/shared_library.h"

namespace moe::kernels::cuda {
namespace {

// The functions that are used here.
struct Cublas {
#ifdef MOE_LOAD_CUBLAS
  // Loaded when the first product asks for it: from where the system finds libraries, then from the folder of
  // the toolkit that this was compiled with.
  static std::string file() {
    return "libcublas.so." + std::to_string(CUBLAS_VER_MAJOR);
  }
  SharedLibrary library{"cublas", {file(), MOE_LOAD_CUBLAS "/" + file()}};
#define FUNCTION(name) library.function<decltype(name)>(#name)
#else
#define FUNCTION(name) name
#endif
  decltype(&cublasCreate_v2) create = FUNCTION(cublasCreate_v2);
  decltype(&cublasDestroy_v2) destroy = FUNCTION(cublasDestroy_v2);
  decltype(&cublasSetStream_v2) set_stream = FUNCTION(cublasSetStream_v2);
  decltype(&cublasSetWorkspace_v2) set_workspace = FUNCTION(cublasSetWorkspace_v2);
  decltype(&cublasSetMathMode) set_math_mode = FUNCTION(cublasSetMathMode);
  decltype(&cublasSgemm_v2) sgemm = FUNCTION(cublasSgemm_v2);
  decltype(&cublasGetStatusString) status_string = FUNCTION(cublasGetStatusString);
#undef FUNCTION
};

const Cublas& cublas() {
  static const Cublas loaded{};
  return loaded;
}

// cuBLAS would take memory of its own for each stream that it meets, even while a graph is captured. Working
// memory of the stream is used by one product at a time, and outlives the graphs that know it.
constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;  // what NVIDIA advises for its largest GPUs

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw error(ErrorKind::runtime, "cublas: {}: {}", what, cublas().status_string(status));
}

// One for each thread of the host, kept until the thread ends.
class Handle {
 public:
  Handle() { check(cublas().create(&handle_), "cannot start"); }
  ~Handle() { cublas().destroy(handle_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  cublasHandle_t on(Stream stream) {
    check(cublas().set_stream(handle_, stream), "cannot use the stream");
    check(cublas().set_workspace(handle_, moe::cuda::scratch(kWorkspaceBytes, stream), kWorkspaceBytes),
          "cannot use the workspace");
    check(cublas().set_math_mode(handle_, moe::cuda::usable_precision() == Precision::fp32
                                              ? CUBLAS_DEFAULT_MATH
                                              : CUBLAS_TF32_TENSOR_OP_MATH),
          "cannot use the precision");
    return handle_;
  }

 private:
  cublasHandle_t handle_ = nullptr;
};

int as_int(int64_t extent) {
  require(extent <= std::numeric_limits<int>::max(), "gemm: an extent of {} is too large for cuBLAS", extent);
  return static_cast<int>(std::max<int64_t>(extent, 1));
}

cublasOperation_t operation(const Matrix& m) {
  return m.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
}

}  // namespace

void gemm(int64_t m, int64_t n, int64_t k, Matrix a, Matrix b, bool accumulate, float* c, Stream stream) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    if (!accumulate) moe::cuda::fill_zero(c, m * n * static_cast<int64_t>(sizeof(float)), stream);
    return;
  }
  thread_local Handle handle;
  const float one = 1, zero = 0;
  check(cublas().sgemm(handle.on(stream), operation(b), operation(a), as_int(n), as_int(m), as_int(k), &one,
                       b.x, as_int(b.stride), a.x, as_int(a.stride), accumulate ? &one : &zero, c, as_int(n)),
        "cublasSgemm");
}

}  // namespace moe::kernels::cuda

#endif
