#pragma once
// Balances the number of tokens an expert is expected to get (Shazeer et al. 2017, eq. 8-11), a smooth
// stand-in for counting: P is the chance that expert e would be among the k with its own noise drawn again
// and that of the others kept.
//
//   h[n,e] = logits[n,e] + normal[n,e] * softplus(noise_logits[n,e])     as in gating, with the same normals
//   t[n,e] = kth_excluding: the (k+1)-th largest of h[n] if e is in the top k, else the k-th
//   P[n,e] = Phi(z),  z = (logits[n,e] - t[n,e]) / d,  d = softplus(noise_logits[n,e]) + 1e-2
//   Load[e] = sum over n of P[n,e];  loss = CV^2(Load), see kernels/routing/cv_squared.h
//
// With g = dloss * dCV^2/dLoad[e] * phi(z) / d, phi the normal density:
//   dlogits[n,e] += g;  dnoise_logits[n,e] -= g z sigmoid(noise_logits[n,e])
// and, since the threshold is the h of some expert i:
//   dlogits[n,i] -= g;  dnoise_logits[n,i] -= g normal[n,i] sigmoid(noise_logits[n,i])
// With k = E everyone is chosen: P = 1, and there is no gradient.

#include "core/device.h"
#include "kernels/gating/gating.h"

namespace moe::kernels {
namespace cpu {

// loss [1]; slope [E], dCV^2/dLoad, is kept for backward.
template <class T>
void load_loss_forward(GatingShape, const T* logits, const RouterNoise<T>&, T* loss, T* slope);

template <class T>
void load_loss_backward(GatingShape, const T* logits, const RouterNoise<T>&, const T* slope, const T* dloss,
                        T* dlogits, T* dnoise_logits);

}  // namespace cpu

namespace cuda {

void load_loss_forward(GatingShape, const float* logits, const RouterNoise<float>&, float* loss, float* slope,
                       Stream);
void load_loss_backward(GatingShape, const float* logits, const RouterNoise<float>&, const float* slope,
                        const float* dloss, float* dlogits, float* dnoise_logits, Stream);

}  // namespace cuda
}  // namespace moe::kernels
