#pragma once
// Copies tokens into the order of their experts.
//
//   rows[r] = x[assignment[r] / k], or 0 where assignment[r] < 0
//   dx[n] += (or =, kernels/into.h) sum over j < k of drows[row[n,j]], j ascending, dropped ones (row < 0)
//   left out
//
// `row` and `assignment` are those of one dispatch plan. Reading backward by token needs no atomics.

#include <cstdint>

#include "core/device.h"
#include "kernels/into.h"

namespace moe::kernels {

struct GatherShape {
  int64_t tokens, topk, dim;
};

namespace cpu {

// assignment [R], x [N, C], rows [R, C], R = N*k
template <class T>
void gather_forward(GatherShape, const int32_t* assignment, const T* x, T* rows);

// row [N, k]
template <class T>
void gather_backward(GatherShape, const int32_t* row, const T* drows, Into<T> dx);

}  // namespace cpu

namespace cuda {

void gather_forward(GatherShape, const int32_t* assignment, const float* x, float* rows, Stream);
void gather_backward(GatherShape, const int32_t* row, const float* drows, Into<float> dx, Stream);

}  // namespace cuda
}  // namespace moe::kernels
