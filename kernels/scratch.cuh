#pragma once
// Working memory of CUDA kernels.

#include "core/cuda_memory.h"

namespace moe::kernels::cuda {

// `n` elements for kernels that are launched on this stream before its next call: see core/cuda_memory.h.
template <class T>
T* scratch(int64_t n, Stream stream) {
  return static_cast<T*>(moe::cuda::scratch(n * static_cast<int64_t>(sizeof(T)), stream));
}

}  // namespace moe::kernels::cuda
