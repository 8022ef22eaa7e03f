#pragma once
// y [rows, out] = x [rows, in] weight [out, in]^T + bias [out]
//
// dx += dy weight       dweight += dy^T x       dbias += the column sums of dy
// bias may be nullptr; so may each gradient that is not needed.

#include <cstdint>

namespace moe::kernels {

struct LinearShape {
  int64_t rows = 0, in = 0, out = 0;
};

namespace cpu {

template <class T>
void linear_forward(LinearShape shape, const T* x, const T* weight, const T* bias, T* y);

template <class T>
void linear_backward(LinearShape shape, const T* x, const T* weight, const T* dy, T* dx, T* dweight,
                     T* dbias);

}  // namespace cpu
}  // namespace moe::kernels
