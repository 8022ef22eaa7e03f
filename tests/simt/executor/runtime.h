#pragma once
// What the files runtime_*.cpp share. Each defines symbols of libcudart, declared by NVIDIA's own headers, so
// that every call is checked against the real runtime.

#include <cuda_runtime_api.h>

namespace simt {

// Keeps a failure for cudaGetLastError and returns it.
cudaError_t result(cudaError_t);
cudaError_t last_error(bool forget);

}  // namespace simt
