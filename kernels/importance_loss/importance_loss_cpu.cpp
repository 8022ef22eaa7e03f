// A task owns its own E sums forward, and some assignments' elements of dgate backward.

#include "core/error.h"
#include "kernels/block_sums.h"
#include "kernels/importance_loss/importance_loss.h"
#include "kernels/routing/cv_squared.h"

namespace moe::kernels::cpu {
namespace {

constexpr int64_t kGrain = 8192;  // assignments a task

}  // namespace

template <class T>
void importance_loss_forward(ImportanceShape s, const T* gate, const int32_t* expert, T* loss, T* slope) {
  const auto importance =
      block_sums(s.tokens * s.topk, kGrain, s.experts, [=](int64_t begin, int64_t end, double* sums) {
        for (int64_t a = begin; a < end; ++a) {
          const int32_t e = expert[a];
          require(e >= 0 && e < s.experts, "importance_loss: expert must be in [0, {}), got {}", s.experts,
                  e);
          sums[e] += static_cast<double>(gate[a]);
        }
      });
  *loss = static_cast<T>(cv_squared(importance, slope));
}

template <class T>
void importance_loss_backward(ImportanceShape s, const int32_t* expert, const T* slope, const T* dloss,
                              T* dgate) {
  if (!dgate) return;
  parallel_ranges(s.tokens * s.topk, kGrain, [=](int64_t begin, int64_t end) {
    for (int64_t a = begin; a < end; ++a) dgate[a] += *dloss * slope[expert[a]];
  });
}

template void importance_loss_forward(ImportanceShape, const float*, const int32_t*, float*, float*);
template void importance_loss_forward(ImportanceShape, const double*, const int32_t*, double*, double*);
template void importance_loss_backward(ImportanceShape, const int32_t*, const float*, const float*, float*);
template void importance_loss_backward(ImportanceShape, const int32_t*, const double*, const double*,
                                       double*);

}  // namespace moe::kernels::cpu
