#pragma once
// For the sources of core/ that call CUDA's runtime.

#include <cuda_runtime_api.h>

#include "core/error.h"

namespace moe::cuda {

// Throws ErrorKind::runtime: "cuda: cannot copy memory: invalid argument".
inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // the runtime would report it again
  throw error(ErrorKind::runtime, "cuda: {}: {}", what, cudaGetErrorString(status));
}

}  // namespace moe::cuda
