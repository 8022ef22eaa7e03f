#pragma once
// AdamW (Loshchilov and Hutter 2019, "Decoupled weight decay regularization"), all pieces of a model in one
// call.
//
//   g = grad_scale * grad
//   value *= 1 - lr * weight_decay
//   m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
//   value -= lr / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + eps)
//
// It consumes the gradient. On the GPU grad is zero afterwards, set while it is still in the cache; on the
// CPU it is left as it is, since the next step's gradients are assigned and not added there
// (Parameter::forget).
//
// An expert that received no token in a step is left alone, its number of updates as well, and so is
// everything in a step that must not be made (kernels/training_step), but for gradients on the GPU.

#include <cstdint>
#include <span>

#include "core/device.h"
#include "kernels/segments.h"
#include "kernels/training_step/training_step.h"

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

// What the GPU makes of a piece's number of updates.
struct AdamWRates {
  enum Action : int32_t { leave, clear, update } action;
  float scale, keep, rate, inverse_root;
};

// A whole model's pieces. All pointers but the list are memory of the device.
template <class T>
struct AdamWPieces {
  std::span<const AdamWSegment<T>> list;  // whose `step` is not looked at
  SegmentTable<AdamWSegment<T>> table;    // the same on the GPU
  int64_t* steps;                         // [pieces] updates so far
  const int32_t* expert;  // [pieces] which element of `kept` counts the piece's tokens; -1: none, updated
                          // every step
  AdamWRates* rates;      // [pieces] of the GPU, to work with
};

namespace cpu {

template <class T>
void adamw(const AdamWOptions&, std::span<const AdamWSegment<T>> segments);

// The update of a step, whose inputs and outcome take the place of lr and grad_scale. kept: see note_pass.
template <class T>
void adamw(const AdamWOptions&, const AdamWPieces<T>&, const StepMemory*, const int64_t* kept);

}  // namespace cpu

namespace cuda {

void adamw(const AdamWOptions&, const AdamWPieces<float>&, const StepMemory*, const int64_t* kept, Stream);

}  // namespace cuda
}  // namespace moe::kernels
