#pragma once
// The matrix products of one attention head, in tiles of R rows that stay in registers. Every element is one
// chain of multiply-adds in ascending order, whatever the tile: results do not depend on how rows are
// grouped.
//
// In scratch memory rows over the head's channels have a stride of `wide` = D rounded up to whole vectors,
// the rest being zeros.

#include <cstdint>

#include "kernels/math.h"

namespace moe::kernels::cpu {

// to [n][wide] = factor * from [n][D]
template <class T>
void pack_rows(int64_t n, int64_t dim, int64_t wide, T factor, const T* from, int64_t stride, T* to) {
  for (int64_t i = 0; i < n; ++i, from += stride, to += wide) {
    for (int64_t d = 0; d < dim; ++d) to[d] = factor * from[d];
    for (int64_t d = dim; d < wide; ++d) to[d] = 0;
  }
}

// to [D][columns] = from [n][D]^T, zeros behind the first n columns; columns is n in whole vectors.
template <class T>
void pack_columns(int64_t n, int64_t columns, int64_t dim, const T* from, int64_t stride, T* to) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t d = 0; d < dim; ++d) {
      Vec<T> v;
#pragma GCC unroll 8
      for (int64_t l = 0; l < kLanes; ++l) v[l] = from[(i + l) * stride + d];
      store(to + d * columns + i, v);
    }
  for (; i < columns; ++i)
    for (int64_t d = 0; d < dim; ++d) to[d * columns + i] = i < n ? from[i * stride + d] : T(0);
}

// body<W>(i) for vectors i .. i+W-1 of `n` elements, two at a time while there are two.
template <class Body>
void for_each_vector(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) body.template operator()<2>(i);
  if (i < n) body.template operator()<1>(i);
}

// s[r][j] = sum over d of a[r][d] * b[d][j] for j < n.     a [R][wide], b [D][columns], s [R][columns]
template <int R, class T>
void row_products(int64_t n, int64_t dim, int64_t wide, int64_t columns, const T* a, const T* b, T* s) {
  for_each_vector(n, [=]<int W>(int64_t j) {
    Vec<T> acc[R][W] = {};
    for (int64_t d = 0; d < dim; ++d) {
      Vec<T> column[W];
#pragma GCC unroll 2
      for (int w = 0; w < W; ++w) column[w] = load(b + d * columns + j + w * kLanes);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const Vec<T> factor = broadcast(a[r * wide + d]);
#pragma GCC unroll 2
        for (int w = 0; w < W; ++w) acc[r][w] = fma(factor, column[w], acc[r][w]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int w = 0; w < W; ++w) store(s + r * columns + j + w * kLanes, acc[r][w]);
  });
}

// o[r] += sum over j in [begin, end) of weight[r][j] * x[j].     weight [R][columns], x [.][wide], o
// [R][wide]
template <int R, class T>
void add_weighted_rows(int64_t begin, int64_t end, int64_t wide, int64_t columns, const T* weight, const T* x,
                       T* o) {
  for_each_vector(wide, [=]<int W>(int64_t d) {
    Vec<T> acc[R][W];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int w = 0; w < W; ++w) acc[r][w] = load(o + r * wide + d + w * kLanes);
    for (int64_t j = begin; j < end; ++j) {
      Vec<T> row[W];
#pragma GCC unroll 2
      for (int w = 0; w < W; ++w) row[w] = load(x + j * wide + d + w * kLanes);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const Vec<T> factor = broadcast(weight[r * columns + j]);
#pragma GCC unroll 2
        for (int w = 0; w < W; ++w) acc[r][w] = fma(factor, row[w], acc[r][w]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int w = 0; w < W; ++w) store(o + r * wide + d + w * kLanes, acc[r][w]);
  });
}

// o[r] = sum over j < first + r + 1 of weight[r][j] * x[j]: each row its own number of terms, since 0 * x[j]
// is not always 0.
template <int R, class T>
void causal_rows(int64_t first, int64_t wide, int64_t columns, const T* weight, const T* x, T* o) {
  for (int64_t d = 0; d < R * wide; ++d) o[d] = 0;
  add_weighted_rows<R>(0, first + 1, wide, columns, weight, x, o);
  for (int r = 1; r < R; ++r)
    add_weighted_rows<1>(first + 1, first + r + 1, wide, columns, weight + r * columns, x, o + r * wide);
}

// g[j] += sum over r of weight[r][j] * x[r] for j < n.     weight [R][columns], x [R][wide], g [n][wide]
template <int R, class T>
void add_outer_products(int64_t n, int64_t wide, int64_t columns, const T* weight, const T* x, T* g) {
  for_each_vector(wide, [=]<int W>(int64_t d) {
    Vec<T> row[R][W];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int w = 0; w < W; ++w) row[r][w] = load(x + r * wide + d + w * kLanes);
    for (int64_t j = 0; j < n; ++j) {
      Vec<T> acc[W];
#pragma GCC unroll 2
      for (int w = 0; w < W; ++w) acc[w] = load(g + j * wide + d + w * kLanes);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const Vec<T> factor = broadcast(weight[r * columns + j]);
#pragma GCC unroll 2
        for (int w = 0; w < W; ++w) acc[w] = fma(factor, row[r][w], acc[w]);
      }
#pragma GCC unroll 2
      for (int w = 0; w < W; ++w) store(g + j * wide + d + w * kLanes, acc[w]);
    }
  });
}

}  // namespace moe::kernels::cpu
