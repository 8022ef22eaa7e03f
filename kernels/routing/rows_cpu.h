#pragma once
// What the router's kernels share on the CPU: one token's row of E numbers at a time. Rows are short (E is
// some 4 to 256), so the time goes into exp and the normals; tasks are cut over tokens.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/parallel.h"
#include "kernels/gating/gating.h"
#include "kernels/math.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/random.h"

namespace moe::kernels::cpu {

// Tokens a task.
inline int64_t tokens_per_task(int64_t experts) {
  return items_per_task(512, experts);
}

// Tokens a block of sums over tokens, one for each expert: the sums take no more memory than the rows.
inline int64_t tokens_per_block(int64_t experts) {
  return std::max(tokens_per_task(experts), experts);
}

// The normals of tokens begin .. end-1, unless they are recorded or there is no noise.
template <class T>
void draw_normals(const RouterNoise<T>& noise, int64_t experts, int64_t begin, int64_t end) {
  if (noise.noise_logits && !noise.recorded)
    random_normals(noise.rng, static_cast<uint64_t>(begin * experts), (end - begin) * experts,
                   noise.drawn + begin * experts);
}

// h[e] = logits[e] + normal[e] * softplus(noise_logits[e]), or logits[e] when noise_logits is nullptr.
// NaN becomes -infinity, so that an order exists.
template <class T>
void selection_row(const T* logits, const T* noise_logits, const T* normal, int64_t experts, T* h) {
  for (int64_t e = 0; e < experts; ++e) h[e] = logits[e];
  if (noise_logits)
    for (int64_t e = 0; e < experts; ++e) h[e] += normal[e] * Softplus::value(noise_logits[e]);
  for (int64_t e = 0; e < experts; ++e) h[e] = std::isnan(h[e]) ? -std::numeric_limits<T>::infinity() : h[e];
}

// The k largest of h, falling, and where they are; of equal ones the lower index first.
template <class T>
void topk_row(const T* h, int64_t experts, int64_t k, T* value, int32_t* index) {
  int64_t filled = 0;
  for (int64_t e = 0; e < experts; ++e) {
    if (filled == k && !(h[e] > value[k - 1])) continue;
    int64_t j = filled < k ? filled++ : k - 1;
    for (; j > 0 && value[j - 1] < h[e]; --j) {
      value[j] = value[j - 1];
      index[j] = index[j - 1];
    }
    value[j] = h[e];
    index[j] = static_cast<int32_t>(e);
  }
}

template <class T>
T logsumexp_row(const T* x, int64_t n) {
  const T top = max_of(x, n);
  return top + std::log(sum_exp(x, n, top));
}

// p may be x.
template <class T>
void softmax_row(const T* x, int64_t n, T* p) {
  const T top = max_of(x, n);
  for (int64_t i = 0; i < n; ++i) p[i] = fast_exp(x[i] - top);
  const T total = sum(p, n);
  for (int64_t i = 0; i < n; ++i) p[i] /= total;
}

}  // namespace moe::kernels::cpu
