#pragma once
// Where a tensor's bytes live.

#include <cstdint>

struct CUstream_st;  // CUDA's, opaque to code that is compiled without its headers

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

// A cudaStream_t. nullptr is the default stream.
using Stream = CUstream_st*;

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

// In what the GPU computes matrix products, the router's excepted, which are fp32. Operands are rounded to
// it, sums are single precision, and all that lies in memory stays f32. Before sm_80 everything is fp32.
enum class Precision : uint8_t {
  fp32,
  tf32,  // 10 bits of mantissa
  bf16,  // 7 bits of mantissa; attention too, which else is fp32; cuBLAS's products take tf32
};

constexpr const char* name_of(Precision p) {
  switch (p) {
    case Precision::fp32:
      return "fp32";
    case Precision::tf32:
      return "tf32";
    case Precision::bf16:
      return "bf16";
  }
  return "?";
}

namespace detail {
inline thread_local Precision g_precision = Precision::fp32;
}
// That of the products which this thread asks for.
inline Precision current_precision() {
  return detail::g_precision;
}
inline void set_current_precision(Precision precision) {
  detail::g_precision = precision;
}

}  // namespace moe
