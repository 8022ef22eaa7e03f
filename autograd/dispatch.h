#pragma once
// The one place where an operation meets a device.

#include "core/recorded_calls.h"
#include "core/tensor.h"

namespace moe::detail {

template <class Cpu, class Cuda>
void visit(const Tensor& on, Cpu&& cpu, Cuda&& cuda) {
  switch (on.device()) {
    case Device::meta:
      return;
    case Device::cpu:
      if (on.dtype() == DType::f64) return cpu.template operator()<double>();
      require(on.dtype() != DType::bf16, "no CPU kernel computes in {}", name_of(on.dtype()));
      return cpu.template operator()<float>();
    case Device::cuda:
      require(on.dtype() != DType::f64 && on.dtype() != DType::bf16, "no CUDA kernel computes in {}",
              name_of(on.dtype()));
      return cuda.template operator()<float>();
  }
}

template <class Kernel, class... Arguments>
void call_on_cpu(Kernel kernel, const Arguments&... arguments) {
  run_recorded([=] { kernel(arguments...); });
}

}  // namespace moe::detail

// MOE_RUN(y, relu_forward, n, x.data<T>(), y.data<T>());
// Calls kernels::cpu::relu_forward or kernels::cuda::relu_forward according to the device of tensor y, with T
// the C++ type of y's elements; an operation on integers alone has no use for T, and runs once. On
// Device::meta nothing runs, not even the arguments: what takes memory is asked for before, a gradient (dx =
// x.grad().accumulate()) and a saved value that may be computed again (input = x.value()), or a plan misses
// it. On the CPU the call joins a recording (core/recorded_calls.h), so its arguments are copied. A build
// without CUDA needs no stubs.
#ifdef MOE_WITH_CUDA
#define MOE_RUN_ON_CUDA(kernel, ...) ::moe::kernels::cuda::kernel(__VA_ARGS__, ::moe::current_stream())
#else
#define MOE_RUN_ON_CUDA(kernel, ...) ::moe::require(false, "this build has no CUDA kernels")
#endif
#define MOE_RUN(on, kernel, ...)                                                                    \
  ::moe::detail::visit((on),                                                                        \
                       [&]<class T>() {                                                             \
                         ::moe::detail::call_on_cpu(                                                \
                             [](const auto&... copies) { ::moe::kernels::cpu::kernel(copies...); }, \
                             __VA_ARGS__);                                                          \
                       },                                                                           \
                       [&]<class T>() { MOE_RUN_ON_CUDA(kernel, __VA_ARGS__); })
