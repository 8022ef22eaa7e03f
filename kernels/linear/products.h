#pragma once
// The matrix products of a linear layer, for linear and grouped_linear.

#include <algorithm>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "kernels/grouped_linear/epilogue.h"
#include "kernels/linear/linear.h"
#include "kernels/pointwise/pointwise.h"

namespace moe::kernels::cpu {

// y = x weight^T + bias
template <class T>
Gemm<T> linear_product(const LinearShape& s, const T* x, const T* weight, const T* bias, T* y) {
  return {.m = s.rows,
          .n = s.out,
          .k = s.in,
          .a = x,
          .lda = s.in,
          .b = weight,
          .ldb = s.in,
          .b_transposed = true,
          .b_packed = s.packed,
          .c = y,
          .ldc = s.out,
          .bias = bias};
}

// Appends the products of the wanted gradients. squares: of dweight, added to it; or nullptr.
template <class T>
void add_linear_gradients(const LinearShape& s, const T* x, const T* weight, const T* dy, Into<T> dx,
                          Into<T> dweight, double* squares, std::vector<Gemm<T>>& products) {
  if (dx)  // dy weight
    products.push_back({.m = s.rows,
                        .n = s.in,
                        .k = s.out,
                        .a = dy,
                        .lda = s.out,
                        .b = weight,
                        .ldb = s.in,
                        .c = dx.to,
                        .ldc = s.in,
                        .accumulate = dx.add});
  if (dweight)  // dy^T x
    products.push_back({.m = s.out,
                        .n = s.in,
                        .k = s.rows,
                        .a = dy,
                        .lda = s.out,
                        .a_transposed = true,
                        .b = x,
                        .ldb = s.in,
                        .c = dweight.to,
                        .ldc = s.in,
                        .accumulate = dweight.add,
                        .stream = !dweight.add,
                        .squares = squares});
}

// Columns to a task of what follows, and rows to a chain of additions.
inline constexpr int64_t kEpilogueColumns = 128, kEpilogueRows = 512;

// The gradient of bias and epilogue, for kEpilogueColumns columns from `begin` on of some rows:
//   dh = dy where kept > 0, else 0, with relu; dy times the derivative of silu at `kept` with silu;
//   dh may be dy
//   dbias += the column sums of dh, or of dy without an epilogue; may be nullptr
template <Epilogue kind, class T>
void epilogue_gradient(int64_t rows, int64_t out, int64_t begin, const T* kept, const T* dy, T* dh,
                       T* dbias) {
  const int64_t columns = std::min(kEpilogueColumns, out - begin);
  for (int64_t first = 0; first < rows; first += kEpilogueRows) {
    const int64_t behind = begin + std::min(first + kEpilogueRows, rows) * out;
    T sum[kEpilogueColumns] = {};
    for (int64_t at = begin + first * out; at < behind; at += out)
#pragma GCC ivdep
      for (int64_t j = 0; j < columns; ++j) {
        T g = dy[at + j];
        if constexpr (kind == Epilogue::relu) dh[at + j] = g = kept[at + j] > T(0) ? g : T(0);
        if constexpr (kind == Epilogue::silu) dh[at + j] = g = g * Silu::derivative(kept[at + j]);
        sum[j] += g;
      }
    for (int64_t j = 0; dbias && j < columns; ++j) dbias[begin + j] += sum[j];
  }
}

}  // namespace moe::kernels::cpu
