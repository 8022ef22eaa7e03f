// Forward: a task owns its own E sums and the normals it draws. Backward: a task owns some tokens' rows of
// the gradients. h and its k+1 largest are computed again rather than kept.

#include "kernels/block_sums.h"
#include "kernels/load_loss/load_loss.h"
#include "kernels/routing/cv_squared.h"
#include "kernels/routing/rows_cpu.h"
#include "kernels/scratch.h"

namespace moe::kernels::cpu {
namespace {

// One token's thresholds, k < E.
template <class T>
class Thresholds {
 public:
  Thresholds(const GatingShape& s, const T* logits, const T* noise_logits, const T* normal)
      : k_(s.topk),
        h_(thread_scratch<T>(s.experts + s.topk + 1)),
        top_(h_ + s.experts),
        at_(thread_scratch<int32_t>(k_ + 1)) {
    selection_row(logits, noise_logits, normal, s.experts, h_);
    topk_row(h_, s.experts, k_ + 1, top_, at_);
  }
  bool chosen(int64_t e) const { return h_[e] > top_[k_ - 1] || (h_[e] == top_[k_ - 1] && e <= at_[k_ - 1]); }
  // kth_excluding of the experts that are chosen or not, and which expert's h it is
  T value(bool chosen) const { return top_[chosen ? k_ : k_ - 1]; }
  int32_t expert(bool chosen) const { return at_[chosen ? k_ : k_ - 1]; }

 private:
  int64_t k_;
  T *h_, *top_;
  int32_t* at_;
};

template <class T>
T deviation(T noise_logit) {
  return Softplus::value(noise_logit) + T(1e-2);
}

template <class T>
T normal_cdf(T z) {
  return T(0.5) * std::erfc(z * T(-0.70710678118654752440));
}

template <class T>
T normal_density(T z) {
  return T(0.39894228040143267794) * std::exp(T(-0.5) * z * z);
}

}  // namespace

template <class T>
void load_loss_forward(GatingShape s, const T* logits, const RouterNoise<T>& noise, T* loss, T* slope) {
  const int64_t E = s.experts;
  const auto load =
      block_sums(s.tokens, tokens_per_block(E), E, [&](int64_t begin, int64_t end, double* sums) {
        draw_normals(noise, E, begin, end);
        for (int64_t n = begin; n < end; ++n) {
          if (s.topk == E) {
            for (int64_t e = 0; e < E; ++e) sums[e] += 1;
            continue;
          }
          const T *l = logits + n * E, *v = noise.noise_logits + n * E;
          const Thresholds<T> threshold(s, l, v, noise.normal() + n * E);
          for (int64_t e = 0; e < E; ++e)
            sums[e] += static_cast<double>(
                normal_cdf((l[e] - threshold.value(threshold.chosen(e))) / deviation(v[e])));
        }
      });
  *loss = static_cast<T>(cv_squared(load, slope));
}

template <class T>
void load_loss_backward(GatingShape s, const T* logits, const RouterNoise<T>& noise, const T* slope,
                        const T* dloss, T* dlogits, T* dnoise_logits) {
  const int64_t E = s.experts;
  if (s.topk == E) return;
  parallel_ranges(s.tokens, tokens_per_task(E), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const T *l = logits + n * E, *v = noise.noise_logits + n * E, *normal = noise.normal() + n * E;
      const Thresholds<T> threshold(s, l, v, normal);
      // The gradient of expert e's logit, and of its noise logit given that of softplus(noise logit).
      const auto accumulate = [&](int64_t e, T dlogit, T dsoftplus) {
        if (dlogits) dlogits[n * E + e] += dlogit;
        if (dnoise_logits) dnoise_logits[n * E + e] += dsoftplus * Softplus::derivative(v[e]);
      };
      T to_threshold[2] = {0, 0};  // of the experts not chosen, of the chosen
      for (int64_t e = 0; e < E; ++e) {
        const bool chosen = threshold.chosen(e);
        const T d = deviation(v[e]), z = (l[e] - threshold.value(chosen)) / d;
        const T g = *dloss * slope[e] * normal_density(z) / d;
        accumulate(e, g, -g * z);
        to_threshold[chosen] += g;
      }
      for (const bool chosen : {false, true}) {
        const int32_t i = threshold.expert(chosen);
        accumulate(i, -to_threshold[chosen], -to_threshold[chosen] * normal[i]);
      }
    }
  });
}

template void load_loss_forward(GatingShape, const float*, const RouterNoise<float>&, float*, float*);
template void load_loss_forward(GatingShape, const double*, const RouterNoise<double>&, double*, double*);
template void load_loss_backward(GatingShape, const float*, const RouterNoise<float>&, const float*,
                                 const float*, float*, float*);
template void load_loss_backward(GatingShape, const double*, const RouterNoise<double>&, const double*,
                                 const double*, double*, double*);

}  // namespace moe::kernels::cpu
