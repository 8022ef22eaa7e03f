#pragma once
// Launching kernels.

#include <driver_types.h>
#include <vector_types.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>

namespace simt {

struct LaunchConfig {
  dim3 grid, block;
  size_t shared_bytes;  // dynamic
  cudaStream_t stream;
};

// What each thread does: run(arguments), which are the kernel's parameters.
struct ThreadBody {
  std::shared_ptr<const void> arguments;
  size_t bytes;
  void (*run)(const void* arguments);
};

// Enters the grid into the stream. What no GPU would take is reported and refused:
// cudaErrorInvalidConfiguration.
cudaError_t enqueue(const LaunchConfig&, std::string_view kernel, ThreadBody);

// kernel(args...) as CUDA would run it: each thread gets copies of the arguments as they are now.
template <auto kernel, class... P>
cudaError_t launch(const LaunchConfig& config, std::string_view name, const P&... args) {
  using Arguments = std::tuple<P...>;
  return enqueue(config, name,
                 {std::make_shared<const Arguments>(args...), sizeof(Arguments), [](const void* arguments) {
                    std::apply(kernel, *static_cast<const Arguments*>(arguments));
                  }});
}

}  // namespace simt
