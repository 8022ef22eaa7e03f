#pragma once
// AdamW (Loshchilov and Hutter 2019, "Decoupled weight decay regularization"), all pieces of a model in one
// call.
//
//   g = grad_scale * grad
//   value *= 1 - lr * weight_decay
//   m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
//   value -= lr / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + eps)
//
// It consumes the gradient: grad is zero afterwards, set while it is still in the cache.

#include <cstdint>
#include <span>

#include "core/device.h"

namespace moe::kernels {

struct AdamWOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.01;
  double grad_scale = 1;  // for clipping
};

template <class T>
struct AdamWSegment {
  T *value, *grad, *m, *v;
  int64_t n;
  int64_t step;  // updates of this segment, this one included
};

namespace cpu {

template <class T>
void adamw(const AdamWOptions&, std::span<const AdamWSegment<T>> segments);

}  // namespace cpu

namespace cuda {

// Pointers are the GPU's, the list of segments is the host's and may go when this returns.
void adamw(const AdamWOptions&, std::span<const AdamWSegment<float>> segments, Stream);

}  // namespace cuda
}  // namespace moe::kernels
