#pragma once
// A linear layer per expert, over rows sorted by expert:
//
//   h[r] = x[r] weight[e]^T + bias[e]   for r in [offsets[e], offsets[e+1])      x [rows, in], y [rows, out]
//   y[r] = h[r], or max(0, h[r]) with relu
//   y[r] = 0                            for r in [offsets[experts], rows)
//
// weight [experts, out, in], bias [experts, out], offsets [experts + 1] rising from 0 to at most rows.
// Backward adds, with the rows of one expert each:
//   dh = dy, or dy where y > 0 and 0 elsewhere with relu
//   dx += dh weight[e]       dweight[e] += dh^T x       dbias[e] += the column sums of dh
// It does not look at the rows behind offsets[experts] and leaves their dx as it is; an expert without rows
// gets nothing added. bias may be nullptr; so may each gradient that is not needed.

#include <cstdint>

#include "core/device.h"

namespace moe::kernels {

struct GroupedLinearShape {
  int64_t rows = 0, in = 0, out = 0, experts = 0;
  bool relu = false;
};

namespace cpu {

template <class T>
void grouped_linear_forward(GroupedLinearShape shape, const int32_t* offsets, const T* x, const T* weight,
                            const T* bias, T* y);

// y and dh [rows, out], which receives the gradient above, are asked for with relu only.
template <class T>
void grouped_linear_backward(GroupedLinearShape shape, const int32_t* offsets, const T* x, const T* weight,
                             const T* y, const T* dy, T* dh, T* dx, T* dweight, T* dbias);

}  // namespace cpu

namespace cuda {

// As above; dh is left alone, the products read dy and y instead.
void grouped_linear_forward(GroupedLinearShape shape, const int32_t* offsets, const float* x,
                            const float* weight, const float* bias, float* y, Stream);
void grouped_linear_backward(GroupedLinearShape shape, const int32_t* offsets, const float* x,
                             const float* weight, const float* y, const float* dy, float* dh, float* dx,
                             float* dweight, float* dbias, Stream);

}  // namespace cuda
}  // namespace moe::kernels
