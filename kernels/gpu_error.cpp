#include "kernels/gpu_error.h"

#include <cuda_runtime_api.h>

#include "core/error.h"

namespace moe::gpu {

void launch_failed(std::string_view kernel, cudaError_t status) {
  throw error(ErrorKind::resource, "{}: {}", kernel, cudaGetErrorString(status));
}

}  // namespace moe::gpu
