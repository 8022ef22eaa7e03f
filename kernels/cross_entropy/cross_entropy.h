#pragma once
// loss = mean over n of lse[n] - logits[n, targets[n]],  lse[n] = log sum over v of exp(logits[n, v])
// dlogits[n, v] += dloss / N * (exp(logits[n, v] - lse[n]) - (v == targets[n]))

#include <cstdint>

#include "core/device.h"

namespace moe::kernels {

struct CrossEntropyShape {
  int64_t rows = 0, symbols = 0;  // N >= 1, V
};

namespace cpu {

// loss [1]; lse [N] is kept for backward. Throws when a target lies outside [0, V).
template <class T>
void cross_entropy_forward(CrossEntropyShape, const T* logits, const int32_t* targets, T* loss, T* lse);

// For targets that forward has accepted.
template <class T>
void cross_entropy_backward(CrossEntropyShape, const T* logits, const int32_t* targets, const T* lse,
                            const T* dloss, T* dlogits);

}  // namespace cpu

namespace cuda {

// A target outside [0, V) cannot be reported from here: the loss is NaN.
void cross_entropy_forward(CrossEntropyShape, const float* logits, const int32_t* targets, float* loss,
                           float* lse, Stream);
void cross_entropy_backward(CrossEntropyShape, const float* logits, const int32_t* targets, const float* lse,
                            const float* dloss, float* dlogits, Stream);

}  // namespace cuda
}  // namespace moe::kernels
