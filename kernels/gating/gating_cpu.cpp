// A task owns some tokens: their rows of gate, expert, probability and the normals drawn, and their rows of
// the gradients. A token is handled in one pass while its row is in the first-level cache.

#include <algorithm>

#include "core/parallel.h"
#include "kernels/gating/gating.h"
#include "kernels/routing/rows_cpu.h"
#include "kernels/scratch.h"

namespace moe::kernels::cpu {
namespace {

constexpr int64_t kMostTokens = 16;  // a task, forward: a window of 32 is two

}  // namespace

template <class T>
void gating_forward(GatingShape s, const T* logits, const RouterNoise<T>& noise, T* gate, int32_t* expert,
                    T* probability) {
  const int64_t E = s.experts, k = s.topk;
  parallel_ranges(s.tokens, std::min(tokens_per_task(E), kMostTokens), [&](int64_t begin, int64_t end) {
    draw_normals(noise, E, begin, end);
    T* chosen = thread_scratch<T>(k + E);
    for (int64_t n = begin; n < end; ++n) {
      T* h = probability ? probability + n * E : chosen + k;
      selection_row(logits + n * E, noise.noise_logits ? noise.noise_logits + n * E : nullptr,
                    noise.normal() ? noise.normal() + n * E : nullptr, E, h);
      topk_row(h, E, k, chosen, expert + n * k);
      if (probability) {
        softmax_row(h, E, h);
        for (int64_t j = 0; j < k; ++j) gate[n * k + j] = h[expert[n * k + j]];
      } else {
        softmax_row(chosen, k, gate + n * k);
      }
    }
  });
}

template <class T>
void gating_backward(GatingShape s, const RouterNoise<T>& noise, const T* gate, const int32_t* expert,
                     const T* probability, const T* dgate, T* dlogits, T* dnoise_logits) {
  const int64_t E = s.experts, k = s.topk;
  parallel_ranges(s.tokens, tokens_per_task(E), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const auto accumulate = [&](int64_t e, T dh) {
        const int64_t i = n * E + e;
        if (dlogits) dlogits[i] += dh;
        if (dnoise_logits)
          dnoise_logits[i] += dh * noise.normal()[i] * Softplus::derivative(noise.noise_logits[i]);
      };
      const T *g = gate + n * k, *dg = dgate + n * k;
      T sum = 0;
      for (int64_t j = 0; j < k; ++j) sum += dg[j] * g[j];
      if (probability) {
        T* dh = thread_scratch<T>(E);
        for (int64_t e = 0; e < E; ++e) dh[e] = -probability[n * E + e] * sum;
        for (int64_t j = 0; j < k; ++j) dh[expert[n * k + j]] = g[j] * (dg[j] - sum);
        for (int64_t e = 0; e < E; ++e) accumulate(e, dh[e]);
      } else {
        for (int64_t j = 0; j < k; ++j) accumulate(expert[n * k + j], g[j] * (dg[j] - sum));
      }
    }
  });
}

template void gating_forward(GatingShape, const float*, const RouterNoise<float>&, float*, int32_t*, float*);
template void gating_forward(GatingShape, const double*, const RouterNoise<double>&, double*, int32_t*,
                             double*);
template void gating_backward(GatingShape, const RouterNoise<float>&, const float*, const int32_t*,
                              const float*, const float*, float*, float*);
template void gating_backward(GatingShape, const RouterNoise<double>&, const double*, const int32_t*,
                              const double*, const double*, double*, double*);

}  // namespace moe::kernels::cpu
