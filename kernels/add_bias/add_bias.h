#pragma once
// y[n, c] = x[n, c] + bias[c]        dx[n, c] += dy[n, c],  dbias[c] += sum over n of dy[n, c]
//
// dx or dbias may be nullptr.

#include <cstdint>

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
}  // namespace moe::kernels
