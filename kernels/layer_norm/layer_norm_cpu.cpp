// A task owns some rows of y, mean, rstd and dx, and its own sums for dgain and dbias, which are added up in
// the order of the tasks. A row stays in the first-level cache over the passes that it needs.

#include "core/parallel.h"
#include "kernels/block_sums.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/math.h"
#include "kernels/scratch.h"

namespace moe::kernels::cpu {
namespace {

constexpr int64_t kRows = 32;  // rows a task

}  // namespace

template <class T>
void layer_norm_forward(LayerNormShape s, double eps, const T* x, const T* gain, const T* bias, T* y, T* mean,
                        T* rstd) {
  parallel_ranges(s.rows, kRows, [=](int64_t begin, int64_t end) {
    const T columns = static_cast<T>(s.dim);
    for (int64_t n = begin; n < end; ++n) {
      const T* in = x + n * s.dim;
      T* out = y + n * s.dim;
      const T m = sum(in, s.dim) / columns;
      for (int64_t c = 0; c < s.dim; ++c) out[c] = in[c] - m;
      const T r = T(1) / std::sqrt(dot(out, out, s.dim) / columns + static_cast<T>(eps));
      for (int64_t c = 0; c < s.dim; ++c) out[c] = out[c] * r * gain[c] + bias[c];
      mean[n] = m;
      rstd[n] = r;
    }
  });
}

template <class T>
void layer_norm_backward(LayerNormShape s, const T* x, const T* gain, const T* mean, const T* rstd,
                         const T* dy, T* dx, T* dgain, T* dbias) {
  const auto sums = block_sums(s.rows, kRows, 2 * s.dim, [=](int64_t begin, int64_t end, double* mine) {
    T* h = thread_scratch<T>(2 * s.dim);
    T* dh = h + s.dim;
    double *gain_sum = mine, *bias_sum = mine + s.dim;
    const T columns = static_cast<T>(s.dim);
    for (int64_t n = begin; n < end; ++n) {
      const T* in = x + n * s.dim;
      const T* d = dy + n * s.dim;
      for (int64_t c = 0; c < s.dim; ++c) {
        h[c] = (in[c] - mean[n]) * rstd[n];
        dh[c] = d[c] * gain[c];
      }
      for (int64_t c = 0; c < s.dim; ++c) {
        gain_sum[c] += static_cast<double>(d[c] * h[c]);
        bias_sum[c] += static_cast<double>(d[c]);
      }
      if (!dx) continue;
      const T dh_mean = sum(dh, s.dim) / columns, dh_h_mean = dot(dh, h, s.dim) / columns;
      T* out = dx + n * s.dim;
      for (int64_t c = 0; c < s.dim; ++c) out[c] += rstd[n] * (dh[c] - dh_mean - h[c] * dh_h_mean);
    }
  });
  const double *gain_sum = sums.data(), *bias_sum = gain_sum + s.dim;
  for (int64_t c = 0; dgain && c < s.dim; ++c) dgain[c] += static_cast<T>(gain_sum[c]);
  for (int64_t c = 0; dbias && c < s.dim; ++c) dbias[c] += static_cast<T>(bias_sum[c]);
}

template void layer_norm_forward(LayerNormShape, double, const float*, const float*, const float*, float*,
                                 float*, float*);
template void layer_norm_forward(LayerNormShape, double, const double*, const double*, const double*, double*,
                                 double*, double*);
template void layer_norm_backward(LayerNormShape, const float*, const float*, const float*, const float*,
                                  const float*, float*, float*, float*);
template void layer_norm_backward(LayerNormShape, const double*, const double*, const double*, const double*,
                                  const double*, double*, double*, double*);

}  // namespace moe::kernels::cpu
