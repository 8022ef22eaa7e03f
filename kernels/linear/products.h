#pragma once
// The matrix products of a linear layer, for linear and grouped_linear.

#include <vector>

#include "kernels/gemm/gemm.h"
#include "kernels/linear/linear.h"

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
          .c = y,
          .ldc = s.out,
          .bias = bias};
}

// Appends the products of the wanted gradients.
template <class T>
void add_linear_gradients(const LinearShape& s, const T* x, const T* weight, const T* dy, T* dx, T* dweight,
                          T* dbias, std::vector<Gemm<T>>& products) {
  static constexpr T one = 1;
  if (dx)  // dy weight
    products.push_back({.m = s.rows,
                        .n = s.in,
                        .k = s.out,
                        .a = dy,
                        .lda = s.out,
                        .b = weight,
                        .ldb = s.in,
                        .c = dx,
                        .ldc = s.in,
                        .accumulate = true});
  if (dweight)  // dy^T x
    products.push_back({.m = s.out,
                        .n = s.in,
                        .k = s.rows,
                        .a = dy,
                        .lda = s.out,
                        .a_transposed = true,
                        .b = x,
                        .ldb = s.in,
                        .c = dweight,
                        .ldc = s.in,
                        .accumulate = true});
  if (dbias)  // 1^T dy; with lda = 0 every element of the row of ones is the same one
    products.push_back({.m = 1,
                        .n = s.out,
                        .k = s.rows,
                        .a = &one,
                        .lda = 0,
                        .a_transposed = true,
                        .b = dy,
                        .ldb = s.out,
                        .c = dbias,
                        .ldc = s.out,
                        .accumulate = true});
}

}  // namespace moe::kernels::cpu
