#pragma once
// y[i] = factor * x[i]               dx[i] += factor * dy[i]

#include <cstdint>

namespace moe::kernels::cpu {

template <class T>
void scale_forward(int64_t n, double factor, const T* x, T* y);

template <class T>
void scale_backward(int64_t n, double factor, const T* dy, T* dx);

}  // namespace moe::kernels::cpu
