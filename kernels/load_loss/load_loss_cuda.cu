// A group of lanes owns a token: the normals drawn, its row of P in shared memory forward, its rows of the
// gradients backward. h and its k+1 largest are computed again rather than kept. Forward a block sums its
// tokens' rows and one last block adds up the blocks (kernels/routing/expert_sums.cuh). Inputs are read once.

#include "kernels/load_loss/load_loss.h"
#include "kernels/routing/expert_sums.cuh"

namespace moe::kernels::cuda {
namespace {

// One token's thresholds, k < E: the k-th and the (k+1)-th choice.
struct Thresholds {
  Choice last, next;
  __device__ bool chosen(Choice c) const { return !precedes(last, c); }
  __device__ const Choice& of(bool chosen) const { return chosen ? next : last; }
};

template <int kGroup>
__device__ Thresholds thresholds(const float* h, int64_t count, int64_t k, int lane) {
  Choice last = before_all();
  for (int64_t j = 0; j < k; ++j) last = next_choice<kGroup>(h, count, lane, last);
  return {last, next_choice<kGroup>(h, count, lane, last)};
}

__device__ float deviation(float noise_logit) {
  return Softplus::value(noise_logit) + 1e-2f;
}

__device__ float normal_cdf(float z) {
  return 0.5f * erfcf(z * -0.70710678f);
}

__device__ float normal_density(float z) {
  return 0.39894228f * expf(-0.5f * z * z);
}

template <int kGroup>
__global__ void __launch_bounds__(kRouterThreads)
    load_loss_forward_kernel(GatingShape s, int64_t run, const float* logits, RouterNoise<float> noise,
                             double* partial) {
  const int64_t E = s.experts;
  sum_rows<kGroup>(s.tokens, run, E, partial, [&](int64_t token, bool exists, int lane, float* row) {
    const int64_t count = exists ? E : 0, i = token * E;
    for (int64_t e = lane; e < count; e += kGroup) row[e] = selection(logits, noise, i + e, true);
    if (s.topk == E) {
      for (int64_t e = lane; e < count; e += kGroup) row[e] = 1;
      return;
    }
    const Thresholds t = thresholds<kGroup>(row, count, s.topk, lane);
    for (int64_t e = lane; e < count; e += kGroup) {
      const bool chosen = t.chosen({row[e], static_cast<int32_t>(e)});
      row[e] = normal_cdf((logits[i + e] - t.of(chosen).h) / deviation(noise.noise_logits[i + e]));
    }
  });
}

template <int kGroup>
__global__ void __launch_bounds__(kRouterThreads)
    load_loss_backward_kernel(GatingShape s, const float* logits, RouterNoise<float> noise,
                              const float* slope, const float* dloss, float* dlogits, float* dnoise_logits) {
  DYNAMIC_SHARED(float, rows);
  const RouterPlace<kGroup> at(static_cast<int64_t>(blockIdx.x) * (blockDim.x / kGroup));
  const int64_t E = s.experts, row = at.token * E, count = at.token < s.tokens ? E : 0;
  float* const h = rows + at.slot * E;
  for (int64_t e = at.lane; e < count; e += kGroup) h[e] = selection(logits, noise, row + e, false);
  const Thresholds t = thresholds<kGroup>(h, count, s.topk, at.lane);

  // The gradient of expert e's logit, and of its noise logit given that of softplus(noise logit).
  const auto accumulate = [&](int64_t e, float dlogit, float dsoftplus) {
    if (dlogits) dlogits[row + e] += dlogit;
    if (dnoise_logits)
      dnoise_logits[row + e] += dsoftplus * Softplus::derivative(noise.noise_logits[row + e]);
  };
  float to_last = 0, to_next = 0;
  for (int64_t e = at.lane; e < count; e += kGroup) {
    const bool chosen = t.chosen({h[e], static_cast<int32_t>(e)});
    const float d = deviation(noise.noise_logits[row + e]), z = (logits[row + e] - t.of(chosen).h) / d;
    const float g = *dloss * slope[e] * normal_density(z) / d;
    accumulate(e, g, -g * z);
    (chosen ? to_next : to_last) += g;
  }
  to_last = group_sum<kGroup>(to_last);
  to_next = group_sum<kGroup>(to_next);
  if (count == 0) return;
  if (t.last.expert % kGroup == at.lane)
    accumulate(t.last.expert, -to_last, -to_last * noise.normal()[row + t.last.expert]);
  if (t.next.expert % kGroup == at.lane)
    accumulate(t.next.expert, -to_next, -to_next * noise.normal()[row + t.next.expert]);
}

}  // namespace

void load_loss_forward(GatingShape s, const float* logits, const RouterNoise<float>& noise, float* loss,
                       float* slope, Stream stream) {
  with_group(s.experts, [&]<int kGroup>() {
    const RowSums sums = row_sums(s.tokens, s.experts, kGroup, stream);
    gpu::launch<load_loss_forward_kernel<kGroup>>(sums.config, s, sums.run, logits, noise, sums.partial);
    cv_squared(sums.blocks, s.experts, sums.partial, loss, slope, stream);
  });
}

void load_loss_backward(GatingShape s, const float* logits, const RouterNoise<float>& noise,
                        const float* slope, const float* dloss, float* dlogits, float* dnoise_logits,
                        Stream stream) {
  if (s.topk == s.experts || (!dlogits && !dnoise_logits)) return;
  with_group(s.experts, [&]<int kGroup>() {
    const int64_t tokens = tokens_per_block(kGroup, s.experts);
    gpu::launch<load_loss_backward_kernel<kGroup>>(
        {blocks_for(s.tokens, tokens), static_cast<unsigned>(tokens * kGroup),
         static_cast<size_t>(tokens * s.experts) * sizeof(float), stream},
        s, logits, noise, slope, dloss, dlogits, dnoise_logits);
  });
}

}  // namespace moe::kernels::cuda
