// A task owns some rows, and in backward its own sums over them, added up in the order of the tasks.

#include "core/parallel.h"
#include "kernels/add_bias/add_bias.h"
#include "kernels/block_sums.h"

namespace moe::kernels::cpu {
namespace {

constexpr int64_t kRows = 64;  // rows a task

}  // namespace

template <class T>
void add_bias_forward(AddBiasShape s, const T* x, const T* bias, T* y) {
  parallel_ranges(s.rows, kRows, [=](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      for (int64_t c = 0; c < s.dim; ++c) y[n * s.dim + c] = x[n * s.dim + c] + bias[c];
  });
}

template <class T>
void add_bias_backward(AddBiasShape s, const T* dy, T* dx, T* dbias) {
  if (dx)
    parallel_ranges(s.rows, kRows, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin * s.dim; i < end * s.dim; ++i) dx[i] += dy[i];
    });
  if (!dbias) return;
  const auto sums = block_sums(s.rows, kRows, s.dim, [=](int64_t begin, int64_t end, double* mine) {
    for (int64_t n = begin; n < end; ++n)
      for (int64_t c = 0; c < s.dim; ++c) mine[c] += static_cast<double>(dy[n * s.dim + c]);
  });
  for (int64_t c = 0; c < s.dim; ++c) dbias[c] += static_cast<T>(sums[static_cast<size_t>(c)]);
}

template void add_bias_forward(AddBiasShape, const float*, const float*, float*);
template void add_bias_forward(AddBiasShape, const double*, const double*, double*);
template void add_bias_backward(AddBiasShape, const float*, float*, float*);
template void add_bias_backward(AddBiasShape, const double*, double*, double*);

}  // namespace moe::kernels::cpu
