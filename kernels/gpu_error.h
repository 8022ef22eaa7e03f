#pragma once
// How a launch that CUDA refuses is reported, apart from kernels/gpu.h since nvcc does not take core/error.h.

#include <driver_types.h>

#include <string_view>

namespace moe::gpu {

// Throws ErrorKind::resource when the GPU has no room for it, else ErrorKind::runtime:
// "scale_kernel<float>: invalid configuration argument", and "before scale_kernel<float>: an illegal memory
// access was encountered" for what an earlier kernel has done, which CUDA tells when it next can.
[[noreturn]] void launch_failed(std::string_view kernel, cudaError_t);

}  // namespace moe::gpu
