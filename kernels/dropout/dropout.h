#pragma once
// y[i] = keep[i] ? scale * x[i] : 0  dx[i] += keep[i] ? scale * dy[i] : 0
//
// keep[i]: draw i of the stream >= threshold; threshold and scale as DropRule says. Nothing is stored:
// backward draws again.

#include <cstdint>

#include "kernels/random.h"

namespace moe::kernels::cpu {

template <class T>
void dropout_forward(int64_t n, DropRule, const RngAddress&, const T* x, T* y);

template <class T>
void dropout_backward(int64_t n, DropRule, const RngAddress&, const T* dy, T* dx);

}  // namespace moe::kernels::cpu
