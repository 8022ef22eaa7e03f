#pragma once
// y = h * gain + bias,  h = (x - mean) * rstd,  rstd = 1 / sqrt(variance + eps)
// with mean and (population) variance of each row over its C columns (Ba, Kiros, Hinton 2016).
//
//   dgain += sum over rows of dy * h         dbias += sum over rows of dy
//   dh = dy * gain
//   dx += (or =, kernels/into.h) rstd * (dh - mean(dh) - h * mean(dh * h)), means over the row
//
// dx, dgain or dbias may be nullptr.

#include <cstdint>

#include "core/device.h"
#include "kernels/into.h"

namespace moe::kernels {

struct LayerNormShape {
  int64_t rows = 0, dim = 0;  // N, C
};

namespace cpu {

// x, y [N, C]; gain, bias [C]; mean, rstd [N] are kept for backward.
template <class T>
void layer_norm_forward(LayerNormShape, double eps, const T* x, const T* gain, const T* bias, T* y, T* mean,
                        T* rstd);

template <class T>
void layer_norm_backward(LayerNormShape, const T* x, const T* gain, const T* mean, const T* rstd, const T* dy,
                         Into<T> dx, T* dgain, T* dbias);

}  // namespace cpu

namespace cuda {

void layer_norm_forward(LayerNormShape, double eps, const float* x, const float* gain, const float* bias,
                        float* y, float* mean, float* rstd, Stream);
void layer_norm_backward(LayerNormShape, const float* x, const float* gain, const float* mean,
                         const float* rstd, const float* dy, Into<float> dx, float* dgain, float* dbias,
                         Stream);

}  // namespace cuda
}  // namespace moe::kernels
