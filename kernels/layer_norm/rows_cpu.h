#pragma once
// One row of layer_norm on the CPU. It stays in the first-level cache over the passes that it needs.

#include <cmath>
#include <cstdint>

#include "kernels/math.h"

namespace moe::kernels::cpu {

inline constexpr int64_t kNormRows = 32;         // rows a task
inline constexpr int64_t kNormForwardRows = 16;  // without sums over rows

template <class T>
void normalize_row(int64_t dim, double eps, const T* x, const T* gain, const T* bias, T* y, T* mean,
                   T* rstd) {
  const T columns = static_cast<T>(dim);
  const T m = sum(x, dim) / columns;
  for (int64_t c = 0; c < dim; ++c) y[c] = x[c] - m;
  const T r = T(1) / std::sqrt(dot(y, y, dim) / columns + static_cast<T>(eps));
  for (int64_t c = 0; c < dim; ++c) y[c] = y[c] * r * gain[c] + bias[c];
  *mean = m;
  *rstd = r;
}

// Adds this row's part to gain_sum and bias_sum. put(c, v) gets what the row's element c adds to dx; not
// called unless `wanted`. memory: 2 * dim elements.
template <class T, class Put>
void normalize_row_gradient(int64_t dim, const T* x, const T* gain, T mean, T rstd, const T* dy,
                            double* gain_sum, double* bias_sum, T* memory, bool wanted, Put put) {
  T *h = memory, *dh = memory + dim;
  const T columns = static_cast<T>(dim);
  for (int64_t c = 0; c < dim; ++c) {
    h[c] = (x[c] - mean) * rstd;
    dh[c] = dy[c] * gain[c];
  }
  for (int64_t c = 0; c < dim; ++c) {
    gain_sum[c] += static_cast<double>(dy[c] * h[c]);
    bias_sum[c] += static_cast<double>(dy[c]);
  }
  if (!wanted) return;
  const T dh_mean = sum(dh, dim) / columns, dh_h_mean = dot(dh, h, dim) / columns;
  for (int64_t c = 0; c < dim; ++c) put(c, rstd * (dh[c] - dh_mean - h[c] * dh_h_mean));
}

// dgain += sums[0..dim), dbias += sums[dim..2*dim); either may be nullptr.
template <class T>
void add_norm_sums(int64_t dim, const double* sums, T* dgain, T* dbias) {
  for (int64_t c = 0; dgain && c < dim; ++c) dgain[c] += static_cast<T>(sums[c]);
  for (int64_t c = 0; dbias && c < dim; ++c) dbias[c] += static_cast<T>(sums[dim + c]);
}

}  // namespace moe::kernels::cpu
