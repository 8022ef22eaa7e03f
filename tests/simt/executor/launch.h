#pragma once
// Launching kernels.

#include <driver_types.h>
#include <vector_types.h>

#include <cstddef>
#include <functional>
#include <string_view>
#include <type_traits>

namespace simt {

struct LaunchConfig {
  dim3 grid, block;
  size_t shared_bytes;  // dynamic
  cudaStream_t stream;
};

// Enters the grid into the stream. What no GPU would take is reported and refused:
// cudaErrorInvalidConfiguration.
cudaError_t enqueue(const LaunchConfig&, std::string_view kernel, std::function<void()> thread_body);

// kernel(args...) as CUDA would run it: each thread gets copies of the arguments as they are now.
template <class... P>
cudaError_t launch(const LaunchConfig& config, std::string_view name, void (*kernel)(P...),
                   std::type_identity_t<P>... args) {
  // The arguments lie in constant memory of the GPU, so reading them is no access that anybody watches.
  return enqueue(
      config, name, [=]() __attribute__((no_sanitize("thread"))) { kernel(args...); });
}

}  // namespace simt
