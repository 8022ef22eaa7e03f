#pragma once
// Brings the experts' results back to their tokens.
//
//   y[n] = x[n] + sum over j < k of gate[n,j] * dropped[row[n,j]], j ascending, dropped ones (row < 0) left
//          out; the sum first
//   dropped[r,c] = keep[r,c] ? rows[r,c] / (1 - p) : 0, or rows[r,c] when nothing drops
//
//   dx[n] += (or =, kernels/into.h) dy[n]
//   drows[row[n,j],c] += keep ? gate[n,j] * dy[n,c] / (1 - p) : 0
//   dgate[n,j] += dropped[row[n,j]] . dy[n], nothing where row < 0
//
// keep[r,c]: draw r*C + c >= the threshold of DropRule. x may be nullptr, for 0; so may each gradient that is
// not needed. A row belongs to one assignment, so no two tokens write the same row of drows.

#include <cstdint>

#include "core/device.h"
#include "core/philox.h"
#include "kernels/drop_rule.h"
#include "kernels/into.h"

namespace moe::kernels {

struct CombineShape {
  int64_t tokens, topk, dim;  // k >= 1
  DropRule drop;
  RngAddress rng;
};

namespace cpu {

// rows [R, C], gate [N, k], row [N, k], x, y [N, C], R = N*k
template <class T>
void combine_forward(const CombineShape&, const T* x, const T* rows, const T* gate, const int32_t* row, T* y);

template <class T>
void combine_backward(const CombineShape&, const T* rows, const T* gate, const int32_t* row, const T* dy,
                      Into<T> dx, T* drows, T* dgate);

}  // namespace cpu

namespace cuda {

void combine_forward(const CombineShape&, const float* x, const float* rows, const float* gate,
                     const int32_t* row, float* y, Stream);
void combine_backward(const CombineShape&, const float* rows, const float* gate, const int32_t* row,
                      const float* dy, Into<float> dx, float* drows, float* dgate, Stream);

}  // namespace cuda
}  // namespace moe::kernels
