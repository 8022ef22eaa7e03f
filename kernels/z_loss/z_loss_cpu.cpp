// Forward: a task owns some elements of lse and its own sum. Backward: a task owns some tokens' rows of
// dlogits.

#include "kernels/block_sums.h"
#include "kernels/routing/rows_cpu.h"
#include "kernels/z_loss/z_loss.h"

namespace moe::kernels::cpu {

template <class T>
void z_loss_forward(int64_t tokens, int64_t experts, const T* logits, T* loss, T* lse) {
  const auto sum =
      block_sums(tokens, tokens_per_task(experts), 1, [=](int64_t begin, int64_t end, double* mine) {
        for (int64_t n = begin; n < end; ++n) {
          lse[n] = logsumexp_row(logits + n * experts, experts);
          *mine += static_cast<double>(lse[n]) * static_cast<double>(lse[n]);
        }
      });
  *loss = static_cast<T>(sum[0] / static_cast<double>(std::max<int64_t>(1, tokens)));
}

template <class T>
void z_loss_backward(int64_t tokens, int64_t experts, const T* logits, const T* lse, const T* dloss,
                     T* dlogits) {
  if (!dlogits) return;
  parallel_ranges(tokens, tokens_per_task(experts), [=](int64_t begin, int64_t end) {
    const T scale = *dloss * T(2) / static_cast<T>(tokens);
    for (int64_t n = begin; n < end; ++n)
      for (int64_t i = n * experts; i < (n + 1) * experts; ++i)
        dlogits[i] += scale * lse[n] * std::exp(logits[i] - lse[n]);
  });
}

template void z_loss_forward(int64_t, int64_t, const float*, float*, float*);
template void z_loss_forward(int64_t, int64_t, const double*, double*, double*);
template void z_loss_backward(int64_t, int64_t, const float*, const float*, const float*, float*);
template void z_loss_backward(int64_t, int64_t, const double*, const double*, const double*, double*);

}  // namespace moe::kernels::cpu
