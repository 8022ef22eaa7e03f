#pragma once
// y[i] = a[i] + b[i]                 da[i] += dy[i],  db[i] += dy[i]
//
// da or db may be nullptr, or one and the same. add_constant: x[i] += value.

#include <cstdint>

#include "core/device.h"

namespace moe::kernels {
namespace cpu {

template <class T>
void add_forward(int64_t n, const T* a, const T* b, T* y);

template <class T>
void add_backward(int64_t n, const T* dy, T* da, T* db);

template <class T>
void add_constant(int64_t n, double value, T* x);

}  // namespace cpu

namespace cuda {

void add_forward(int64_t n, const float* a, const float* b, float* y, Stream);
void add_backward(int64_t n, const float* dy, float* da, float* db, Stream);
void add_constant(int64_t n, double value, float* x, Stream);

}  // namespace cuda
}  // namespace moe::kernels
