#pragma once
// Balances the router's probabilities against the load (Fedus et al. 2021, eq. 4-6, for k choices a token).
//
//   f[e] = share of the N*k assignments that go to e, a count without gradient
//   p[n] = softmax over all E logits[n];  P[e] = mean over n of p[n,e]
//   loss = E * sum over e of f[e] P[e]       1 when balanced; 0 for no tokens
//   dlogits[n,i] += dloss * E / N * p[n,i] (f[i] - sum over e of f[e] p[n,e])

#include <cstdint>

#include "core/device.h"

namespace moe::kernels {

struct BalanceShape {
  int64_t tokens, topk, experts;
};

namespace cpu {

// logits [N, E]; expert [N, k]; loss [1]; share [E], f, is kept for backward. Throws for an expert outside
// [0, E).
template <class T>
void balance_loss_forward(BalanceShape, const T* logits, const int32_t* expert, T* loss, T* share);

template <class T>
void balance_loss_backward(BalanceShape, const T* logits, const T* share, const T* dloss, T* dlogits);

}  // namespace cpu

namespace cuda {

// An expert outside [0, E) cannot be reported from here: its assignments count for no expert.
void balance_loss_forward(BalanceShape, const float* logits, const int32_t* expert, float* loss, float* share,
                          Stream);
void balance_loss_backward(BalanceShape, const float* logits, const float* share, const float* dloss,
                           float* dlogits, Stream);

}  // namespace cuda
}  // namespace moe::kernels
