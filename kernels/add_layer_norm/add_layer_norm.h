#pragma once
// A residual addition, with dropout before it, and the layer norm behind it, in one pass over the rows.
//
//   sum[i] = x[i] + dropped[i]     dropped[i] = keep[i] ? y[i] / (1 - p) : 0, or y[i] when nothing drops
//   out = layer norm of sum (kernels/layer_norm/layer_norm.h), with its gain, bias, mean and rstd
//
//   t = dsum + what layer norm's backward gives of dout
//   dx += (or =, kernels/into.h) t       dy[i] += (or =) keep[i] ? t[i] / (1 - p) : 0, or t[i]       dgain,
//   dbias as in layer norm
//
// keep[i]: draw i >= the threshold of DropRule. dsum may be nullptr, for 0; so may dx, dy, dgain and dbias.

#include "core/philox.h"
#include "kernels/drop_rule.h"
#include "kernels/layer_norm/layer_norm.h"

namespace moe::kernels {
namespace cpu {

// x, y, sum, out [N, C]; gain, bias [C]; mean, rstd [N] are kept for backward.
template <class T>
void add_layer_norm_forward(LayerNormShape, double eps, DropRule, const RngAddress&, const T* x, const T* y,
                            const T* gain, const T* bias, T* sum, T* out, T* mean, T* rstd);

template <class T>
void add_layer_norm_backward(LayerNormShape, DropRule, const RngAddress&, const T* sum, const T* gain,
                             const T* mean, const T* rstd, const T* dsum, const T* dout, Into<T> dx,
                             Into<T> dy, T* dgain, T* dbias);

}  // namespace cpu

namespace cuda {

void add_layer_norm_forward(LayerNormShape, double eps, DropRule, const RngAddress&, const float* x,
                            const float* y, const float* gain, const float* bias, float* sum, float* out,
                            float* mean, float* rstd, Stream);
void add_layer_norm_backward(LayerNormShape, DropRule, const RngAddress&, const float* sum, const float* gain,
                             const float* mean, const float* rstd, const float* dsum, const float* dout,
                             Into<float> dx, Into<float> dy, float* dgain, float* dbias, Stream);

}  // namespace cuda
}  // namespace moe::kernels
