#pragma once
// y [rows, out] = x [rows, in] weight [out, in]^T + bias [out]
//
// dx += dy weight       dweight += dy^T x       dbias += the column sums of dy
// The first two are assigned where asked for (kernels/into.h).
// bias may be nullptr; so may each gradient that is not needed. squares receives the sum of the squares of
// dweight, which is assigned then; nullptr: nobody asks for it. GPUs leave it alone.

#include <cstdint>

#include "core/device.h"
#include "kernels/into.h"

namespace moe::kernels {

struct LinearShape {
  int64_t rows = 0, in = 0, out = 0;
  bool packed = false;  // weight lies as cpu::pack_columns leaves it; forward on the CPU alone
};

namespace cpu {

template <class T>
void linear_forward(LinearShape shape, const T* x, const T* weight, const T* bias, T* y);

template <class T>
void linear_backward(LinearShape shape, const T* x, const T* weight, const T* dy, Into<T> dx, Into<T> dweight,
                     T* dbias, double* squares);

}  // namespace cpu

namespace cuda {

void linear_forward(LinearShape shape, const float* x, const float* weight, const float* bias, float* y,
                    Stream);
void linear_backward(LinearShape shape, const float* x, const float* weight, const float* dy, Into<float> dx,
                     Into<float> dweight, float* dbias, double* squares, Stream);

}  // namespace cuda
}  // namespace moe::kernels
