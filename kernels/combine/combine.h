#pragma once
// Brings the experts' results back to their tokens.
//
//   y[n] = sum over j < k of gate[n,j] * rows[row[n,j]], j ascending, dropped ones (row < 0) left out
//   drows[row[n,j]] += gate[n,j] * dy[n]
//   dgate[n,j] += rows[row[n,j]] . dy[n], nothing where dropped
//
// A row belongs to one assignment, so no two tokens write the same row of drows.

#include <cstdint>

#include "core/device.h"

namespace moe::kernels {

struct CombineShape {
  int64_t tokens, topk, dim;
};

namespace cpu {

// rows [R, C], gate [N, k], row [N, k], y [N, C], R = N*k
template <class T>
void combine_forward(CombineShape, const T* rows, const T* gate, const int32_t* row, T* y);

template <class T>
void combine_backward(CombineShape, const T* rows, const T* gate, const int32_t* row, const T* dy, T* drows,
                      T* dgate);

}  // namespace cpu

namespace cuda {

void combine_forward(CombineShape, const float* rows, const float* gate, const int32_t* row, float* y,
                     Stream);
void combine_backward(CombineShape, const float* rows, const float* gate, const int32_t* row, const float* dy,
                      float* drows, float* dgate, Stream);

}  // namespace cuda
}  // namespace moe::kernels
