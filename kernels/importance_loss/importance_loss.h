#pragma once
// Balances the sum of gates (Shazeer et al. 2017, eq. 6-7).
//
//   Importance[e] = sum over n, j with expert[n,j] = e of gate[n,j]
//   loss = CV^2(Importance) = variance / (mean^2 + 1e-10), population variance
//   dgate[n,j] += dloss * slope[expert[n,j]], slope = dCV^2 / dImportance

#include <cstdint>

#include "core/device.h"

namespace moe::kernels {

struct ImportanceShape {
  int64_t tokens, topk, experts;
};

namespace cpu {

// gate, expert [N, k]; loss [1]; slope [E] is kept for backward. Throws for an expert outside [0, E).
template <class T>
void importance_loss_forward(ImportanceShape, const T* gate, const int32_t* expert, T* loss, T* slope);

template <class T>
void importance_loss_backward(ImportanceShape, const int32_t* expert, const T* slope, const T* dloss,
                              T* dgate);

}  // namespace cpu

namespace cuda {

// An expert outside [0, E) cannot be reported from here: its gates count for no expert and get no gradient.
void importance_loss_forward(ImportanceShape, const float* gate, const int32_t* expert, float* loss,
                             float* slope, Stream);
void importance_loss_backward(ImportanceShape, const int32_t* expert, const float* slope, const float* dloss,
                              float* dgate, Stream);

}  // namespace cuda
}  // namespace moe::kernels
