#pragma once
// What a .cu file needs beyond CUDA's own language: how to launch a kernel and how to declare shared memory.
// The same source is compiled by nvcc for GPUs and by g++ for the executor of tests/simt/, which runs it on
// the CPU lane by lane (docs/executor.md).
//
//   template <class T>
//   __global__ void reverse_kernel(int n, T* x) {
//     SHARED(tile, T[256]);
//     ...
//   }
//   gpu::launch<reverse_kernel<float>>({blocks, 256, 0, stream}, n, x);

#include <cstddef>
#include <string_view>
#include <type_traits>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#else
#include <simt.h>  // the executor's folder is on the path of those targets alone that use it
#endif

#include "kernels/gpu_error.h"

namespace moe::gpu {

struct LaunchConfig {
  dim3 grid, block;
  size_t shared_bytes = 0;  // of DYNAMIC_SHARED
  cudaStream_t stream = nullptr;
};

namespace detail {

// "scale_kernel<float>", of the compiler's words for this function's template argument.
template <auto kernel>
constexpr std::string_view name_of() {
  std::string_view name = __PRETTY_FUNCTION__;
  name.remove_prefix(name.find("kernel = ") + std::string_view("kernel = ").size());
  name = name.substr(0, name.find_last_not_of("]; ") + 1);
  if (const size_t more = name.find("; "); more != name.npos)
    name = name.substr(0, more);  // other typedefs named
  const size_t qualified = name.substr(0, name.find_first_of("<(")).rfind("::");
  return qualified == name.npos ? name : name.substr(qualified + 2);
}

template <auto kernel, class... P>
void launch(void (*)(P...), const LaunchConfig& c, std::type_identity_t<P>... args) {
  if (c.grid.x == 0 || c.grid.y == 0 || c.grid.z == 0) return;
#if defined(__CUDACC__)
  // Without being asked for, a block gets 48 KiB, static shared memory included.
  cudaError_t status = c.shared_bytes == 0
                           ? cudaSuccess
                           : cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                  static_cast<int>(c.shared_bytes));
  if (status == cudaSuccess) {
    kernel<<<c.grid, c.block, c.shared_bytes, c.stream>>>(args...);
    status = cudaPeekAtLastError();
  }
  if (status != cudaSuccess) {
    cudaGetLastError();  // the next launch does not report it again
    launch_failed(name_of<kernel>(), status);
  }
#else
  const cudaError_t status =
      simt::launch<kernel>({c.grid, c.block, c.shared_bytes, c.stream}, name_of<kernel>(), args...);
  if (status != cudaSuccess) launch_failed(name_of<kernel>(), status);
#endif
}

}  // namespace detail

// Runs kernel(args...) on the stream, with as much dynamic shared memory as the GPU can give to a block. A
// grid without blocks launches nothing. Throws what launch_failed throws when CUDA refuses the launch.
template <auto kernel, class... Args>
void launch(const LaunchConfig& config, Args&&... args) {
  detail::launch<kernel>(kernel, config, static_cast<Args&&>(args)...);
}

}  // namespace moe::gpu

// Two macros, since a declaration in shared memory is no expression that a function could return.
//
// SHARED(tile, float[32][33]): the block's variable `tile` of that type, 16-byte aligned, uninitialised.
// DYNAMIC_SHARED(float, rows): `float* const rows`, the LaunchConfig::shared_bytes of the block, 16-byte
// aligned.
#if defined(__CUDACC__)
#define SHARED(name, ...) __shared__ __align__(16) std::type_identity_t<__VA_ARGS__> name
#define DYNAMIC_SHARED(type, name)                                        \
  extern __shared__ __align__(16) unsigned char moe_gpu_dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(moe_gpu_dynamic_shared)
#else
#define SHARED(name, ...)                   \
  static constexpr char name##_identity{0}; \
  auto& name = simt::shared<std::type_identity_t<__VA_ARGS__>>(&name##_identity, #name)
#define DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(simt::dynamic_shared())
#endif
