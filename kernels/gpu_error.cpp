#include "kernels/gpu_error.h"

#include <cuda_runtime_api.h>

#include "core/error.h"

namespace moe::gpu {

void launch_failed(std::string_view kernel, cudaError_t status) {
  switch (status) {
    case cudaErrorMemoryAllocation:
    case cudaErrorLaunchOutOfResources:
      throw error(ErrorKind::resource, "{}: {}", kernel, cudaGetErrorString(status));
    case cudaErrorInvalidValue:
    case cudaErrorInvalidConfiguration:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidResourceHandle:
      throw error(ErrorKind::runtime, "{}: {}", kernel, cudaGetErrorString(status));
    default:
      throw error(ErrorKind::runtime, "before {}: {}", kernel, cudaGetErrorString(status));
  }
}

}  // namespace moe::gpu
