// A group of lanes owns a token: its rows of gate, expert, probability and the normals drawn, and its rows of
// the gradients. Forward keeps h in shared memory, E floats a token, and finds the k choices one after the
// other: each is the first of those behind the choice before it, so nothing needs to be marked as taken.
// Logits, noise and gates are read and written once.

#include "kernels/gating/gating.h"
#include "kernels/routing/rows.cuh"

namespace moe::kernels::cuda {
namespace {

template <int kGroup>
__global__ void __launch_bounds__(kRouterThreads)
    gating_forward_kernel(GatingShape s, const float* logits, RouterNoise<float> noise, float* gate,
                          int32_t* expert, float* probability) {
  DYNAMIC_SHARED(float, rows);
  const RouterPlace<kGroup> at(static_cast<int64_t>(blockIdx.x) * (blockDim.x / kGroup));
  const int64_t k = s.topk, E = s.experts, row = at.token * E;
  const int64_t count = at.token < s.tokens ? E : 0;
  float* const h = rows + at.slot * E;
  for (int64_t e = at.lane; e < count; e += kGroup) h[e] = selection(logits, noise, row + e, true);

  // gate first receives e^(h - top), element j from lane j % kGroup, which divides it afterwards.
  float* const gates = gate + at.token * k;
  float top = 0, sum = 0;
  Choice choice = before_all();
  for (int64_t j = 0; j < k; ++j) {
    choice = next_choice<kGroup>(h, count, at.lane, choice);
    if (j == 0) top = choice.h;
    const float x = expf(choice.h - top);
    sum += x;
    if (count == 0 || j % kGroup != at.lane) continue;
    gates[j] = x;
    expert[at.token * k + j] = choice.expert;
  }
  if (probability) {
    sum = 0;
    for (int64_t e = at.lane; e < count; e += kGroup) sum += h[e] = expf(h[e] - top);
    sum = group_sum<kGroup>(sum);
    for (int64_t e = at.lane; e < count; e += kGroup) probability[row + e] = h[e] / sum;
  }
  for (int64_t j = at.lane; count && j < k; j += kGroup) gates[j] /= sum;
}

template <int kGroup>
__global__ void __launch_bounds__(kRouterThreads)
    gating_backward_kernel(GatingShape s, RouterNoise<float> noise, const float* gate, const int32_t* expert,
                           const float* probability, const float* dgate, float* dlogits,
                           float* dnoise_logits) {
  const RouterPlace<kGroup> at(static_cast<int64_t>(blockIdx.x) * (blockDim.x / kGroup));
  if (at.token >= s.tokens) return;
  const int64_t k = s.topk, E = s.experts;
  const float *g = gate + at.token * k, *dg = dgate + at.token * k;
  const int32_t* chosen = expert + at.token * k;
  float sum = 0;
  for (int64_t j = 0; j < k; ++j) sum += dg[j] * g[j];

  const auto accumulate = [&](int64_t e, float dh) {
    const int64_t i = at.token * E + e;
    if (dlogits) dlogits[i] += dh;
    if (dnoise_logits)
      dnoise_logits[i] += dh * noise.normal()[i] * Softplus::derivative(noise.noise_logits[i]);
  };
  if (!probability) {
    for (int64_t j = at.lane; j < k; j += kGroup) accumulate(chosen[j], g[j] * (dg[j] - sum));
    return;
  }
  for (int64_t e = at.lane; e < E; e += kGroup) {
    float dh = -probability[at.token * E + e] * sum;
    for (int64_t j = 0; j < k; ++j)
      if (chosen[j] == e) dh = g[j] * (dg[j] - sum);
    accumulate(e, dh);
  }
}

}  // namespace

void gating_forward(GatingShape s, const float* logits, const RouterNoise<float>& noise, float* gate,
                    int32_t* expert, float* probability, Stream stream) {
  with_group(s.experts, [&]<int kGroup>() {
    const int64_t tokens = tokens_per_block(kGroup, s.experts);
    gpu::launch<gating_forward_kernel<kGroup>>(
        {blocks_for(s.tokens, tokens), static_cast<unsigned>(tokens * kGroup),
         static_cast<size_t>(tokens * s.experts) * sizeof(float), stream},
        s, logits, noise, gate, expert, probability);
  });
}

void gating_backward(GatingShape s, const RouterNoise<float>& noise, const float* gate, const int32_t* expert,
                     const float* probability, const float* dgate, float* dlogits, float* dnoise_logits,
                     Stream stream) {
  if (!dlogits && !dnoise_logits) return;
  with_group(s.experts, [&]<int kGroup>() {
    gpu::launch<gating_backward_kernel<kGroup>>(
        {blocks_for(s.tokens, kRouterThreads / kGroup), kRouterThreads, 0, stream}, s, noise, gate, expert,
        probability, dgate, dlogits, dnoise_logits);
  });
}

}  // namespace moe::kernels::cuda
