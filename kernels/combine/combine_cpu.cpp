// A task owns some tokens: their rows of y and dgate, and the rows of drows that are theirs. Every row is
// read once; y[n] and dy[n] stay in the first-level cache over the k rows of their token.

#include <algorithm>

#include "core/parallel.h"
#include "kernels/combine/combine.h"
#include "kernels/math.h"

namespace moe::kernels::cpu {
namespace {

int64_t tokens_per_task(const CombineShape& s) {
  return std::max<int64_t>(1, 8192 / std::max<int64_t>(1, s.dim * s.topk));
}

}  // namespace

template <class T>
void combine_forward(CombineShape s, const T* rows, const T* gate, const int32_t* row, T* y) {
  parallel_ranges(s.tokens, tokens_per_task(s), [=](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      T* to = y + n * s.dim;
      std::fill_n(to, s.dim, T(0));
      for (int64_t a = n * s.topk; a < (n + 1) * s.topk; ++a) {
        if (row[a] < 0) continue;
        const T* from = rows + row[a] * s.dim;
        const T g = gate[a];
        for (int64_t c = 0; c < s.dim; ++c) to[c] += g * from[c];
      }
    }
  });
}

template <class T>
void combine_backward(CombineShape s, const T* rows, const T* gate, const int32_t* row, const T* dy, T* drows,
                      T* dgate) {
  parallel_ranges(s.tokens, tokens_per_task(s), [=](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const T* from = dy + n * s.dim;
      for (int64_t a = n * s.topk; a < (n + 1) * s.topk; ++a) {
        if (row[a] < 0) continue;
        if (dgate) dgate[a] += dot(rows + row[a] * s.dim, from, s.dim);
        if (!drows) continue;
        T* to = drows + row[a] * s.dim;
        const T g = gate[a];
        for (int64_t c = 0; c < s.dim; ++c) to[c] += g * from[c];
      }
    }
  });
}

template void combine_forward(CombineShape, const float*, const float*, const int32_t*, float*);
template void combine_forward(CombineShape, const double*, const double*, const int32_t*, double*);
template void combine_backward(CombineShape, const float*, const float*, const int32_t*, const float*, float*,
                               float*);
template void combine_backward(CombineShape, const double*, const double*, const int32_t*, const double*,
                               double*, double*);

}  // namespace moe::kernels::cpu
