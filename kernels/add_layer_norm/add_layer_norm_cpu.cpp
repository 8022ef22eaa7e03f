// A task owns some rows of sum, out, mean, rstd, dx and dy, and its own sums for dgain and dbias, which are
// added up in the order of the tasks. The operations and their order are those of dropout, add and
// layer_norm one after the other: so are the bits.

#include "core/parallel.h"
#include "kernels/add_layer_norm/add_layer_norm.h"
#include "kernels/block_sums.h"
#include "kernels/layer_norm/rows_cpu.h"
#include "kernels/random.h"
#include "kernels/scratch.h"

namespace moe::kernels::cpu {
namespace {

// put(c, (dropout of x)[c]), where row n takes draws n*dim and on.
template <class T, class Put>
void each_dropped(int64_t n, int64_t dim, const DropRule& rule, const RngAddress& rng, uint32_t* memory,
                  const T* x, Put put) {
  if (!rule.drops()) {
    for (int64_t c = 0; c < dim; ++c) put(c, x[c]);
    return;
  }
  const uint32_t* const draws = random_fill(rng, static_cast<uint64_t>(n * dim), dim, memory);
  each_kept<T>(
      dim, rule, draws, [=](int64_t c) { return x[c]; }, put);
}

}  // namespace

template <class T>
void add_layer_norm_forward(LayerNormShape s, double eps, DropRule rule, const RngAddress& rng, const T* x,
                            const T* y, const T* gain, const T* bias, T* sum, T* out, T* mean, T* rstd) {
  parallel_ranges(s.rows, kNormForwardRows, [=](int64_t begin, int64_t end) {
    uint32_t* const draws = thread_scratch<uint32_t>(s.dim + kDrawSlack);
    for (int64_t n = begin; n < end; ++n) {
      const int64_t at = n * s.dim;
      const T* const residual = x + at;
      T* const to = sum + at;
      each_dropped(n, s.dim, rule, rng, draws, y + at, [=](int64_t c, T v) { to[c] = residual[c] + v; });
      normalize_row(s.dim, eps, sum + at, gain, bias, out + at, mean + n, rstd + n);
    }
  });
}

template <class T>
void add_layer_norm_backward(LayerNormShape s, DropRule rule, const RngAddress& rng, const T* sum,
                             const T* gain, const T* mean, const T* rstd, const T* dsum, const T* dout,
                             Into<T> dx, Into<T> dy, T* dgain, T* dbias) {
  const auto sums = block_sums(s.rows, kNormRows, 2 * s.dim, [=](int64_t begin, int64_t end, double* mine) {
    T* const memory = thread_scratch<T>(3 * s.dim);
    uint32_t* const draws = thread_scratch<uint32_t>(s.dim + kDrawSlack);
    T* const t = memory + 2 * s.dim;
    for (int64_t n = begin; n < end; ++n) {
      const int64_t at = n * s.dim;
      normalize_row_gradient(s.dim, sum + at, gain, mean[n], rstd[n], dout + at, mine, mine + s.dim, memory,
                             dx.to || dy.to, [=](int64_t c, T v) { t[c] = v; });
      for (int64_t c = 0; dsum && c < s.dim; ++c) t[c] = dsum[at + c] + t[c];
      for (int64_t c = 0; dx && c < s.dim; ++c) dx.put(at + c, t[c]);
      const Into<T> to = dy.from(at);
      if (dy) each_dropped(n, s.dim, rule, rng, draws, t, [=](int64_t c, T v) { to.put(c, v); });
    }
  });
  add_norm_sums(s.dim, sums.data(), dgain, dbias);
}

template void add_layer_norm_forward(LayerNormShape, double, DropRule, const RngAddress&, const float*,
                                     const float*, const float*, const float*, float*, float*, float*,
                                     float*);
template void add_layer_norm_forward(LayerNormShape, double, DropRule, const RngAddress&, const double*,
                                     const double*, const double*, const double*, double*, double*, double*,
                                     double*);
template void add_layer_norm_backward(LayerNormShape, DropRule, const RngAddress&, const float*, const float*,
                                      const float*, const float*, const float*, const float*, Into<float>,
                                      Into<float>, float*, float*);
template void add_layer_norm_backward(LayerNormShape, DropRule, const RngAddress&, const double*,
                                      const double*, const double*, const double*, const double*,
                                      const double*, Into<double>, Into<double>, double*, double*);

}  // namespace moe::kernels::cpu
