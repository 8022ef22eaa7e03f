#pragma once
// The L2 norm of a gradient that lies in many pieces: sqrt(sum over all elements of g^2).
//
// Squares are added up in double, in blocks of a constant size, and the blocks in their order: the result
// does not depend on the number of threads.

#include <cstdint>
#include <span>

#include "core/device.h"

namespace moe::kernels {

template <class T>
struct GradSegment {
  const T* grad;
  int64_t n;
};

namespace cpu {

template <class T>
void grad_norm(std::span<const GradSegment<T>> segments, double* norm);

}  // namespace cpu

namespace cuda {

// *norm is the host's: this waits for the stream.
void grad_norm(std::span<const GradSegment<float>> segments, double* norm, Stream);

}  // namespace cuda
}  // namespace moe::kernels
