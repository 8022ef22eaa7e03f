#pragma once
// How a launch that CUDA refuses is reported, apart from kernels/gpu.h since nvcc does not take core/error.h.

#include <driver_types.h>

#include <string_view>

namespace moe::gpu {

// Throws ErrorKind::resource: "scale_kernel<float>: invalid configuration argument".
[[noreturn]] void launch_failed(std::string_view kernel, cudaError_t);

}  // namespace moe::gpu
