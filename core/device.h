#pragma once
// Where a tensor's bytes live.

#include <cstdint>

namespace moe {

enum class Device : uint8_t {
  cpu,
  cuda,
  meta,  // nowhere: shapes only. Kernels do nothing on it; it is how memory is planned before it is taken.
};

constexpr const char* name_of(Device d) {
  switch (d) {
    case Device::cpu:
      return "cpu";
    case Device::cuda:
      return "cuda";
    case Device::meta:
      return "meta";
  }
  return "?";
}

// True when this build contains the CUDA kernels (MOE_CUDA, see CMakeLists.txt).
#ifdef MOE_WITH_CUDA
inline constexpr bool kWithCuda = true;
#else
inline constexpr bool kWithCuda = false;
#endif

// A cudaStream_t, opaque to code that is compiled without CUDA headers. nullptr is the default stream.
using Stream = struct CUstream_st*;

namespace detail {
inline thread_local Stream g_stream = nullptr;
}
// The stream on which this thread's kernels and copies on Device::cuda run.
inline Stream current_stream() {
  return detail::g_stream;
}
inline void set_current_stream(Stream stream) {
  detail::g_stream = stream;
}

}  // namespace moe
