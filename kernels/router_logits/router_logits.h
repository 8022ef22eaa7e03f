#pragma once
// Both projections of a router at once, always in the precision of memory: who goes where should not hang on
// rounded operands.
//
//   logits[i] [N, E] = x [N, C] weight[i] [E, C]^T + bias[i] [E]      for i < count, 1 or 2
//
//   dx += dlogits[1] weight[1], then dlogits[0] weight[0]
//   dweight[i] += dlogits[i]^T x       dbias[i] += the column sums of dlogits[i]
//
// A dlogits that is nullptr counts as 0. Each gradient that is not needed may be nullptr.

#include <cstdint>

#include "core/device.h"

namespace moe::kernels {

struct RouterLogitsShape {
  int64_t tokens = 0, dim = 0, experts = 0;  // N, C, E
  int count = 1;
};

template <class T>
struct RouterWeights {
  const T *weight[2], *bias[2];
};
template <class T>
struct RouterGradients {
  const T* dlogits[2];
  T *dx, *dweight[2], *dbias[2];
};

namespace cpu {

template <class T>
void router_logits_forward(RouterLogitsShape, const T* x, const RouterWeights<T>&, T* logits,
                           T* noise_logits);

template <class T>
void router_logits_backward(RouterLogitsShape, const T* x, const RouterWeights<T>&,
                            const RouterGradients<T>&);

}  // namespace cpu

namespace cuda {

void router_logits_forward(RouterLogitsShape, const float* x, const RouterWeights<float>&, float* logits,
                           float* noise_logits, Stream);
void router_logits_backward(RouterLogitsShape, const float* x, const RouterWeights<float>&,
                            const RouterGradients<float>&, Stream);

}  // namespace cuda
}  // namespace moe::kernels
