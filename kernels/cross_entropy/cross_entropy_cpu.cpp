// A task owns some rows of lse and dlogits, and its own part of the loss; the parts are added up in the order
// of the tasks.

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/block_sums.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/math.h"

namespace moe::kernels::cpu {
namespace {

int64_t rows_per_task(const CrossEntropyShape& s) {
  return items_per_task(4096, s.symbols);
}

}  // namespace

template <class T>
void cross_entropy_forward(CrossEntropyShape s, const T* logits, const int32_t* targets, T* loss, T* lse) {
  const auto total = block_sums(s.rows, rows_per_task(s), 1, [=](int64_t begin, int64_t end, double* mine) {
    for (int64_t n = begin; n < end; ++n) {
      const T* row = logits + n * s.symbols;
      require(targets[n] >= 0 && targets[n] < s.symbols,
              "cross_entropy: targets[{}] must lie in [0, {}), got {}", n, s.symbols, targets[n]);
      const T most = max_of(row, s.symbols);
      const T log_sum = std::log(sum_exp(row, s.symbols, most));
      lse[n] = most + log_sum;
      *mine +=
          static_cast<double>(log_sum) - (static_cast<double>(row[targets[n]]) - static_cast<double>(most));
    }
  });
  *loss = static_cast<T>(total[0] / static_cast<double>(s.rows));
}

template <class T>
void cross_entropy_backward(CrossEntropyShape s, const T* logits, const int32_t* targets, const T* lse,
                            const T* dloss, T* dlogits) {
  if (!dlogits) return;
  parallel_ranges(s.rows, rows_per_task(s), [=](int64_t begin, int64_t end) {
    const T weight = *dloss / static_cast<T>(s.rows);
    for (int64_t n = begin; n < end; ++n) {
      const T shift = lse[n];
      const T* row = logits + n * s.symbols;
      T* out = dlogits + n * s.symbols;
      for (int64_t v = 0; v < s.symbols; ++v) out[v] += weight * fast_exp(row[v] - shift);
      out[targets[n]] -= weight;
    }
  });
}

template void cross_entropy_forward(CrossEntropyShape, const float*, const int32_t*, float*, float*);
template void cross_entropy_forward(CrossEntropyShape, const double*, const int32_t*, double*, double*);
template void cross_entropy_backward(CrossEntropyShape, const float*, const int32_t*, const float*,
                                     const float*, float*);
template void cross_entropy_backward(CrossEntropyShape, const double*, const int32_t*, const double*,
                                     const double*, double*);

}  // namespace moe::kernels::cpu
