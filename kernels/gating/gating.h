#pragma once
// A router's decision: which k of E experts a token goes to, and with which gates.
//
//   h[n,e] = logits[n,e] + normal[n,e] * softplus(noise_logits[n,e])   (the second term with noise only)
//   expert[n,0..k) = the k largest of h[n], falling; of equal ones the lower expert first; NaN counts as -inf
//   gate[n,j] = softmax over the k chosen h    (Shazeer, Mirhoseini et al. 2017, "Outrageously large neural
//                                               networks", eq. 3-5), or
//             = softmax over all E h, at expert[n,j]   (Fedus, Zoph, Shazeer 2021, "Switch Transformers", eq.
//             1-2)
//
// Backward takes the choice as given. With s = sum over j of dgate[n,j] gate[n,j]:
//   dh[n,expert[n,j]] = gate[n,j] (dgate[n,j] - s);  softmax over all: besides dh[n,e] = -p[n,e] s elsewhere
//   dlogits += dh;  dnoise_logits += dh * normal * sigmoid(noise_logits)
// With k = 1 and the softmax over the chosen one the gate is 1 and every gradient is 0.

#include <cstdint>

#include "core/device.h"
#include "core/philox.h"

namespace moe::kernels {

struct GatingShape {
  int64_t tokens, experts, topk;  // 1 <= topk <= experts
};

// The noise of a router, all [N, E]; without any when noise_logits is nullptr.
template <class T>
struct RouterNoise {
  const T* noise_logits = nullptr;
  const T* recorded = nullptr;  // the normals, or nullptr: then
  T* drawn = nullptr;           // forward draws them here, element i being normal i of `rng`; backward reads
  RngAddress rng;

  MOE_HOST_DEVICE const T* normal() const { return recorded ? recorded : drawn; }
};

namespace cpu {

// gate, expert [N, k]. probability [N, E] receives the softmax over all experts; nullptr asks for the softmax
// over the chosen ones.
template <class T>
void gating_forward(GatingShape, const T* logits, const RouterNoise<T>&, T* gate, int32_t* expert,
                    T* probability);

template <class T>
void gating_backward(GatingShape, const RouterNoise<T>&, const T* gate, const int32_t* expert,
                     const T* probability, const T* dgate, T* dlogits, T* dnoise_logits);

}  // namespace cpu

namespace cuda {

void gating_forward(GatingShape, const float* logits, const RouterNoise<float>&, float* gate, int32_t* expert,
                    float* probability, Stream);
void gating_backward(GatingShape, const RouterNoise<float>&, const float* gate, const int32_t* expert,
                     const float* probability, const float* dgate, float* dlogits, float* dnoise_logits,
                     Stream);

}  // namespace cuda
}  // namespace moe::kernels
