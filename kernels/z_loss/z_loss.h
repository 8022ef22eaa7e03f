#pragma once
// Keeps router logits small (Zoph et al. 2022, "ST-MoE", eq. 5).
//
//   lse[n] = log sum over e of exp(logits[n,e]);  loss = mean over n of lse[n]^2, 0 for no tokens
//   dlogits[n,e] += dloss * 2 / N * lse[n] * exp(logits[n,e] - lse[n])

#include <cstdint>

#include "core/device.h"

namespace moe::kernels {
namespace cpu {

// logits [N, E], E >= 1; loss [1]; lse [N] is kept for backward.
template <class T>
void z_loss_forward(int64_t tokens, int64_t experts, const T* logits, T* loss, T* lse);

template <class T>
void z_loss_backward(int64_t tokens, int64_t experts, const T* logits, const T* lse, const T* dloss,
                     T* dlogits);

}  // namespace cpu

namespace cuda {

void z_loss_forward(int64_t tokens, int64_t experts, const float* logits, float* loss, float* lse, Stream);
void z_loss_backward(int64_t tokens, int64_t experts, const float* logits, const float* lse,
                     const float* dloss, float* dlogits, Stream);

}  // namespace cuda
}  // namespace moe::kernels
