#pragma once
// y[i] = f(x[i])                     dx[i] += dy[i] * f'(x[i])
//
// A pointwise operation is one struct: its value and its derivative, shared by all devices.

#include <cmath>
#include <concepts>
#include <cstdint>
#include <string>

#include "core/cuda_memory.h"
#include "core/device.h"
#include "core/host_device.h"
#include "core/parallel.h"
#include "kernels/elementary.h"

namespace moe::kernels {

struct Relu {
  static constexpr const char* name = "relu";
  template <class T>
  MOE_HOST_DEVICE static T value(T x) {
    return x > T(0) ? x : T(0);
  }
  template <class T>
  MOE_HOST_DEVICE static T derivative(T x) {
    return x > T(0) ? T(1) : T(0);
  }
};

namespace detail {

// e^x
template <class T>
MOE_HOST_DEVICE T exp(T x) {
#ifdef __CUDA_ARCH__
  return std::exp(x);
#else
  return cpu::fast_exp(x);
#endif
}

template <class T>
MOE_HOST_DEVICE T sigmoid(T x) {
  return T(1) / (T(1) + exp(-x));
}

}  // namespace detail

// x * sigmoid(x), Elfwing et al. 2017.
struct Silu {
  static constexpr const char* name = "silu";
  template <class T>
  MOE_HOST_DEVICE static T value(T x) {
    return x / (T(1) + detail::exp(-x));
  }
  template <class T>
  MOE_HOST_DEVICE static T derivative(T x) {
    const T s = detail::sigmoid(x);
    return s * (T(1) + x * (T(1) - s));
  }
};

// log(1 + e^x), written so that neither end overflows.
struct Softplus {
  static constexpr const char* name = "softplus";
  template <class T>
  MOE_HOST_DEVICE static T value(T x) {
#ifdef __CUDA_ARCH__
    return (x > T(0) ? x : T(0)) + std::log1p(std::exp(-std::abs(x)));
#else
    return cpu::fast_softplus(x);
#endif
  }
  template <class T>
  MOE_HOST_DEVICE static T derivative(T x) {
    return detail::sigmoid(x);
  }
};

namespace cpu {

inline constexpr int64_t kPointwiseGrain = 16384;  // elements a task

template <class F, class T>
void pointwise_forward(F, int64_t n, const T* x, T* y) {
  parallel_ranges(n, kPointwiseGrain, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = F::value(x[i]);
  });
}

template <class F, class T>
void pointwise_backward(F, int64_t n, const T* x, const T* dy, T* dx) {
  parallel_ranges(n, kPointwiseGrain, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) dx[i] += dy[i] * F::derivative(x[i]);
  });
}

}  // namespace cpu

namespace cuda {

// The structs that pointwise_cuda.cu compiles for the GPU. One of your own runs on the CPU until it is named
// here and there.
template <class F>
concept Compiled = std::same_as<F, Relu> || std::same_as<F, Silu> || std::same_as<F, Softplus>;

template <Compiled F>
void pointwise_forward(F, int64_t n, const float* x, float* y, Stream);

template <Compiled F>
void pointwise_backward(F, int64_t n, const float* x, const float* dy, float* dx, Stream);

// All others. Throws ErrorKind::usage.
template <class F>
void pointwise_forward(F, int64_t, const float*, float*, Stream) {
  moe::cuda::refuse(std::string(F::name) + " is not among the pointwise operations compiled for the GPU");
}
template <class F>
void pointwise_backward(F f, int64_t n, const float* x, const float*, float* dx, Stream stream) {
  pointwise_forward(f, n, x, dx, stream);
}

}  // namespace cuda
}  // namespace moe::kernels
