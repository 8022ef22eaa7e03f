#pragma once
// The L2 norm of a gradient that lies in many pieces: sqrt(sum over all elements of g^2).
//
// Squares are added up in double, in blocks of a constant size, and the blocks in their order: the result
// does not depend on the number of threads.

#include <cstdint>
#include <span>

#include "core/device.h"
#include "kernels/segments.h"

namespace moe::kernels {

template <class T>
struct GradSegment {
  const T* grad;
  int64_t n;
};

// The pieces as each device wants them.
template <class T>
struct Gradients {
  std::span<const GradSegment<T>> list;
  SegmentTable<GradSegment<T>> table;  // on the GPU
  double squares = 0;                  // the sum of those of all elements outside the pieces; on the CPU
};

namespace cpu {

template <class T>
void grad_norm(const Gradients<T>& gradients, double* norm);

}  // namespace cpu

namespace cuda {

// *norm is the GPU's.
void grad_norm(const Gradients<float>&, double* norm, Stream);

}  // namespace cuda
}  // namespace moe::kernels
