#pragma once
// Causal softmax attention, one head after the other. For the query at position i and the keys at j <= i:
//
//   s[i,j] = scale * q[i] . k[j]
//   lse[i] = log sum over j of exp(s[i,j])
//   p[i,j] = exp(s[i,j] - lse[i])
//   w[i,j] = keep[i,j] ? p[i,j] / (1 - dropout) : 0
//   y[i] = sum over j of w[i,j] v[j]
//
//   dv[j] += sum over i of w[i,j] dy[i]
//   g[i,j] = keep[i,j] ? dy[i] . v[j] / (1 - dropout) : 0
//   ds[i,j] = p[i,j] * (g[i,j] - sum over j' of p[i,j'] g[i,j'])
//   dq[i] += scale * sum over j of ds[i,j] k[j]       dk[j] += scale * sum over i of ds[i,j] q[i]
//
// The gradients are added to dqkv or written to it, as kernels/into.h says.
//
// keep[i,j]: draw ((b*heads + h)*T + i)*T + j >= the threshold of DropRule. Only lse is stored: backward
// computes p and draws keep again.

#include <cstdint>

#include "core/device.h"
#include "core/philox.h"
#include "kernels/drop_rule.h"
#include "kernels/into.h"

namespace moe::kernels {

struct AttentionShape {
  int64_t batch = 0, heads = 0, dim = 0;  // B, heads, D; C = heads * D
  int64_t tokens = 0;                     // rows of qkv for each sequence
  int64_t past = 0;                       // positions before them, in the cache
  int64_t queries = 0;                    // the last so many of the tokens get an output
  int64_t capacity = 0;                   // positions for which the cache has room
  double scale = 1;
  DropRule drop;
  RngAddress rng;
};

namespace cpu {

// qkv [B*tokens, 3C]: row (b, t) is position past + t of sequence b. cache [B, capacity, 3C] or nullptr:
// holds positions 0..past-1 and receives the rows of qkv behind them. y [B*queries, C], lse [B, heads,
// queries], or nullptr where backward will not be asked for. The bits of a position's y do not depend on
// which other positions the call has.
template <class T>
void attention_forward(const AttentionShape&, const T* qkv, T* cache, T* y, T* lse);

// For past = 0, queries = tokens and no cache. y and lse are what forward gave; this one has no use for y.
template <class T>
void attention_backward(const AttentionShape&, const T* qkv, const T* y, const T* lse, const T* dy,
                        Into<T> dqkv);

}  // namespace cpu

namespace cuda {

// The same for heads of up to kWidestHead channels; wider ones throw ErrorKind::usage.
inline constexpr int64_t kWidestHead = 128;

void attention_forward(const AttentionShape&, const float* qkv, float* cache, float* y, float* lse, Stream);
void attention_backward(const AttentionShape&, const float* qkv, const float* y, const float* lse,
                        const float* dy, Into<float> dqkv, Stream);

}  // namespace cuda
}  // namespace moe::kernels
