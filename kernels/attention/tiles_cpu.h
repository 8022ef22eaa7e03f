#pragma once
// The matrix products of one attention head, kNativeLanes columns at a time. Every element is one chain of
// multiply-adds in ascending order: its bits do not depend on how rows and columns are grouped.

#include <algorithm>
#include <cstdint>

#include "kernels/math.h"

namespace moe::kernels::cpu {

// Which lanes are n or higher.
template <class T>
auto lanes_from(int64_t n) {
  NativeVec<T> lane;
  for (int l = 0; l < kNativeLanes; ++l) lane[l] = static_cast<T>(l);
  return lane >= static_cast<T>(n);
}

// c[m][lane] = sum over x < n of a[m*row + x*step] * b[x][lane], added to what is there with `accumulate`.
// The terms from `all` on are those of some lanes only: lane l has the terms x < all + l. Left out, not
// multiplied by zero, since 0 * x is not always 0.
template <class T>
struct LaneProduct {
  int64_t n;
  int64_t all;
  const T* a;
  int64_t row, step;
  const T* b;
  int64_t b_stride;
  T* c;
  int64_t c_stride;
  bool accumulate = false;
};

// Rows m .. m+M-1.
template <int M, class T>
void lane_tile(const LaneProduct<T>& p, int64_t m) {
  NativeVec<T> sum[M] = {};
  if (p.accumulate) {
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i) sum[i] = load_native(p.c + (m + i) * p.c_stride);
  }
  const T* a = p.a + m * p.row;
  const T* b = p.b;
  const int64_t all = std::min(p.all, p.n);
  int64_t x = 0;
  for (; x < all; ++x, a += p.step, b += p.b_stride) {
    const NativeVec<T> factor = load_native(b);
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i) sum[i] = fma(broadcast_native(a[i * p.row]), factor, sum[i]);
  }
  for (; x < p.n; ++x, a += p.step, b += p.b_stride) {
    const NativeVec<T> factor = load_native(b);
    const auto has = lanes_from<T>(x - all + 1);
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i) sum[i] = has ? fma(broadcast_native(a[i * p.row]), factor, sum[i]) : sum[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i) store(p.c + (m + i) * p.c_stride, sum[i]);
}

// All `rows` rows, as many at a time as hide the latency of one chain.
template <class T>
void lane_product(int64_t rows, const LaneProduct<T>& p) {
  int64_t m = 0;
  for (; m + 8 <= rows; m += 8) lane_tile<8>(p, m);
  for (; m < rows; ++m) lane_tile<1>(p, m);
}

}  // namespace moe::kernels::cpu
