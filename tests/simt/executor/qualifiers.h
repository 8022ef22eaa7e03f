#pragma once
// CUDA's qualifiers, which mean nothing on the CPU. __shared__ is left out: a variable declared with it would
// have neither red zones nor NaN, so that SHARED() is asked for (kernels/gpu.h).

#include <cuda_runtime.h>

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __launch_bounds__
#undef __forceinline__
#define __global__
#define __device__
#define __host__
#define __constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
