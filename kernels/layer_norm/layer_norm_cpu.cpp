// A task owns some rows of y, mean, rstd and dx, and its own sums for dgain and dbias, which are added up in
// the order of the tasks.

#include "core/parallel.h"
#include "kernels/block_sums.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/layer_norm/rows_cpu.h"
#include "kernels/scratch.h"

namespace moe::kernels::cpu {

template <class T>
void layer_norm_forward(LayerNormShape s, double eps, const T* x, const T* gain, const T* bias, T* y, T* mean,
                        T* rstd) {
  parallel_ranges(s.rows, kNormForwardRows, [=](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      normalize_row(s.dim, eps, x + n * s.dim, gain, bias, y + n * s.dim, mean + n, rstd + n);
  });
}

template <class T>
void layer_norm_backward(LayerNormShape s, const T* x, const T* gain, const T* mean, const T* rstd,
                         const T* dy, Into<T> dx, T* dgain, T* dbias) {
  const auto sums = block_sums(s.rows, kNormRows, 2 * s.dim, [=](int64_t begin, int64_t end, double* mine) {
    T* const memory = thread_scratch<T>(2 * s.dim);
    for (int64_t n = begin; n < end; ++n) {
      const Into<T> out = dx.from(n * s.dim);
      normalize_row_gradient(s.dim, x + n * s.dim, gain, mean[n], rstd[n], dy + n * s.dim, mine, mine + s.dim,
                             memory, out.to != nullptr, [=](int64_t c, T v) { out.put(c, v); });
    }
  });
  add_norm_sums(s.dim, sums.data(), dgain, dbias);
}

template void layer_norm_forward(LayerNormShape, double, const float*, const float*, const float*, float*,
                                 float*, float*);
template void layer_norm_forward(LayerNormShape, double, const double*, const double*, const double*, double*,
                                 double*, double*);
template void layer_norm_backward(LayerNormShape, const float*, const float*, const float*, const float*,
                                  const float*, Into<float>, float*, float*);
template void layer_norm_backward(LayerNormShape, const double*, const double*, const double*, const double*,
                                  const double*, Into<double>, double*, double*);

}  // namespace moe::kernels::cpu
