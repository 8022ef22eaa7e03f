// Forward: a task owns some rows. Backward: a task owns some tokens' rows of dx.

#include <algorithm>

#include "core/parallel.h"
#include "kernels/gather/gather.h"

namespace moe::kernels::cpu {
namespace {

int64_t rows_per_task(int64_t dim) {
  return items_per_task(4096, dim);
}

}  // namespace

template <class T>
void gather_forward(GatherShape s, const int32_t* assignment, const T* x, T* rows) {
  parallel_ranges(s.tokens * s.topk, rows_per_task(s.dim), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      T* to = rows + r * s.dim;
      if (assignment[r] < 0)
        std::fill_n(to, s.dim, T(0));
      else
        std::copy_n(x + assignment[r] / s.topk * s.dim, s.dim, to);
    }
  });
}

template <class T>
void gather_backward(GatherShape s, const int32_t* row, const T* drows, Into<T> dx) {
  if (!dx) return;
  parallel_ranges(s.tokens, rows_per_task(s.dim * s.topk), [=](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      T* to = dx.to + n * s.dim;
      if (!dx.add) std::fill_n(to, s.dim, T(0));
      for (int64_t j = 0; j < s.topk; ++j) {
        const int32_t r = row[n * s.topk + j];
        if (r < 0) continue;
        const T* from = drows + r * s.dim;
        for (int64_t c = 0; c < s.dim; ++c) to[c] += from[c];
      }
    }
  });
}

template void gather_forward(GatherShape, const int32_t*, const float*, float*);
template void gather_forward(GatherShape, const int32_t*, const double*, double*);
template void gather_backward(GatherShape, const int32_t*, const float*, Into<float>);
template void gather_backward(GatherShape, const int32_t*, const double*, Into<double>);

}  // namespace moe::kernels::cpu
