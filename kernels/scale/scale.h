#pragma once
// y[i] = factor * x[i]               dx[i] += factor * dy[i]

#include <cstdint>

#include "core/device.h"

namespace moe::kernels {
namespace cpu {

template <class T>
void scale_forward(int64_t n, double factor, const T* x, T* y);

template <class T>
void scale_backward(int64_t n, double factor, const T* dy, T* dx);

}  // namespace cpu

namespace cuda {

void scale_forward(int64_t n, double factor, const float* x, float* y, Stream);
void scale_backward(int64_t n, double factor, const float* dy, float* dx, Stream);

}  // namespace cuda
}  // namespace moe::kernels
