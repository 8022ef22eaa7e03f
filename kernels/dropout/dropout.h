#pragma once
// y[i] = keep[i] ? scale * x[i] : 0  dx[i] += keep[i] ? scale * dy[i] : 0
//
// keep[i]: draw i of the stream >= threshold; threshold and scale as DropRule says. Nothing is stored:
// backward draws again.

#include <cstdint>

#include "core/device.h"
#include "core/philox.h"
#include "kernels/drop_rule.h"

namespace moe::kernels {
namespace cpu {

template <class T>
void dropout_forward(int64_t n, DropRule, const RngAddress&, const T* x, T* y);

template <class T>
void dropout_backward(int64_t n, DropRule, const RngAddress&, const T* dy, T* dx);

}  // namespace cpu

namespace cuda {

void dropout_forward(int64_t n, DropRule, const RngAddress&, const float* x, float* y, Stream);
void dropout_backward(int64_t n, DropRule, const RngAddress&, const float* dy, float* dx, Stream);

}  // namespace cuda
}  // namespace moe::kernels
