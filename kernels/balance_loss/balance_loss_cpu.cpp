// Forward: a task owns its own 2E sums. Backward: a task owns some tokens' rows of dlogits; the probabilities
// are computed again.

#include "core/error.h"
#include "kernels/balance_loss/balance_loss.h"
#include "kernels/block_sums.h"
#include "kernels/routing/rows_cpu.h"
#include "kernels/scratch.h"

namespace moe::kernels::cpu {

template <class T>
void balance_loss_forward(BalanceShape s, const T* logits, const int32_t* expert, T* loss, T* share) {
  const int64_t E = s.experts, k = s.topk;
  const auto sums =
      block_sums(s.tokens, tokens_per_block(E), 2 * E, [=](int64_t begin, int64_t end, double* mine) {
        T* p = thread_scratch<T>(E);
        for (int64_t n = begin; n < end; ++n) {
          softmax_row(logits + n * E, E, p);
          for (int64_t e = 0; e < E; ++e) mine[e] += static_cast<double>(p[e]);
          for (int64_t j = 0; j < k; ++j) {
            const int32_t e = expert[n * k + j];
            require(e >= 0 && e < E, "balance_loss: expert must be in [0, {}), got {}", E, e);
            mine[E + e] += 1;
          }
        }
      });
  const auto tokens = static_cast<double>(std::max<int64_t>(1, s.tokens));
  double sum = 0;
  for (int64_t e = 0; e < E; ++e) {
    const double P = sums[static_cast<size_t>(e)] / tokens;
    const double f = sums[static_cast<size_t>(E + e)] / (tokens * static_cast<double>(k));
    share[e] = static_cast<T>(f);
    sum += f * P;
  }
  *loss = static_cast<T>(static_cast<double>(E) * sum);
}

template <class T>
void balance_loss_backward(BalanceShape s, const T* logits, const T* share, const T* dloss, T* dlogits) {
  if (!dlogits) return;
  const int64_t E = s.experts;
  parallel_ranges(s.tokens, tokens_per_task(E), [=](int64_t begin, int64_t end) {
    T* p = thread_scratch<T>(E);
    const T scale = *dloss * static_cast<T>(E) / static_cast<T>(s.tokens);
    for (int64_t n = begin; n < end; ++n) {
      softmax_row(logits + n * E, E, p);
      T mean = 0;
      for (int64_t e = 0; e < E; ++e) mean += share[e] * p[e];
      for (int64_t e = 0; e < E; ++e) dlogits[n * E + e] += scale * p[e] * (share[e] - mean);
    }
  });
}

template void balance_loss_forward(BalanceShape, const float*, const int32_t*, float*, float*);
template void balance_loss_forward(BalanceShape, const double*, const int32_t*, double*, double*);
template void balance_loss_backward(BalanceShape, const float*, const float*, const float*, float*);
template void balance_loss_backward(BalanceShape, const double*, const double*, const double*, double*);

}  // namespace moe::kernels::cpu
