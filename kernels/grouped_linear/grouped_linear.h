#pragma once
// A linear layer per expert, over rows sorted by expert:
//
//   h[r] = rows[r] weight[e]^T + bias[e]     for r in [offsets[e], offsets[e+1])
//   y[r] = h[r], or max(0, h[r]) with relu, or h[r] * sigmoid(h[r]) with silu
//   y[r] = 0                                 for r in [offsets[experts], R)
//
// rows [R, in], h and y [R, out]. rows is x itself, or rows[r] = x[assignment[r] / topk], gathered on the
// way. weight [experts, out, in], bias [experts, out]. Backward adds, with the rows of one expert each:
//   dh = dy times the slope of the epilogue: with relu 1 where y > 0, else 0; with silu its derivative at h
//   drows = dh weight[e]     dweight[e] += dh^T rows     dbias[e] += the column sums of dh
//   dx += drows, or dx[n] += sum over j < topk of drows[row[n,j]], j ascending, without dropped ones
//   (row < 0)
// dx and dweight are assigned where asked for (kernels/into.h). It does not look at the rows behind
// offsets[experts] and gives nothing to them; an expert without rows gets nothing added, or zeros assigned.
// bias may be nullptr; so may each gradient that is not needed.

#include <cstdint>
#include <vector>

#include "core/device.h"
#include "kernels/grouped_linear/epilogue.h"
#include "kernels/into.h"

namespace moe::kernels {

struct GroupedLinearShape {
  int64_t rows = 0, in = 0, out = 0, experts = 0;  // R
  Epilogue epilogue = Epilogue::none;
  bool packed = false;  // weight lies as cpu::pack_columns leaves it; forward on the CPU alone
};

// Which row belongs to whom.
struct GroupedRows {
  const int32_t* offsets = nullptr;     // [experts + 1], rising from 0 to at most R
  const int32_t* assignment = nullptr;  // [R], of a dispatch plan; nullptr: x has the rows already
  const int32_t* row = nullptr;         // [tokens, topk], the inverse of assignment
  int64_t tokens = 0, topk = 1;         // R = tokens * topk; asked for with assignment only
};

// The arrays of backward.
template <class T>
struct GroupedGradients {
  const T *x, *weight;
  const T* kept;  // what forward kept: y with relu, h with silu, else nullptr
  const T* dy;
  Into<T> dx, dweight;
  T* dbias;
  // On the CPU, where dweight is assigned: receives the part of each expert without rows, which stays
  // unwritten; nullptr: zeros are written.
  std::vector<Gap>* gaps = nullptr;
};

namespace cpu {

// h receives h with silu, else it may be nullptr. With assignment, rows [R, in] is the memory for the
// gathered rows.
template <class T>
void grouped_linear_forward(GroupedLinearShape shape, const GroupedRows&, const T* x, const T* weight,
                            const T* bias, T* rows, T* h, T* y);

// dh [R, out], which receives the gradient above, is asked for with an epilogue, and may be dy; rows and
// drows [R, in] are asked for with assignment. squares receives the sum of the squares of dweight, which is
// assigned then; nullptr: nobody asks for it.
template <class T>
void grouped_linear_backward(GroupedLinearShape shape, const GroupedRows&, const GroupedGradients<T>&,
                             T* rows, T* dh, T* drows, double* squares);

}  // namespace cpu

namespace cuda {

// As above; rows, dh and squares are left alone, the products read what these are made of instead. offsets
// may be nullptr for one expert that has all rows.
void grouped_linear_forward(GroupedLinearShape shape, const GroupedRows&, const float* x, const float* weight,
                            const float* bias, float* rows, float* h, float* y, Stream);
void grouped_linear_backward(GroupedLinearShape shape, const GroupedRows&, const GroupedGradients<float>&,
                             float* rows, float* dh, float* drows, double* squares, Stream);

}  // namespace cuda
}  // namespace moe::kernels
