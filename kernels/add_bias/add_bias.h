#pragma once
// y[n, c] = x[n, c] + bias[c]        dx[n, c] += dy[n, c],  dbias[c] += sum over n of dy[n, c]
//
// dx or dbias may be nullptr.

#include <cstdint>

#include "core/device.h"

namespace moe::kernels {

struct AddBiasShape {
  int64_t rows = 0, dim = 0;
};

namespace cpu {

template <class T>
void add_bias_forward(AddBiasShape, const T* x, const T* bias, T* y);

template <class T>
void add_bias_backward(AddBiasShape, const T* dy, T* dx, T* dbias);

}  // namespace cpu

namespace cuda {

void add_bias_forward(AddBiasShape, const float* x, const float* bias, float* y, Stream);
void add_bias_backward(AddBiasShape, const float* dy, float* dx, float* dbias, Stream);

}  // namespace cuda
}  // namespace moe::kernels
