#pragma once
// y[i] = a[i] + b[i]                 da[i] += dy[i],  db[i] += dy[i]
//
// da or db may be nullptr, or one and the same.

#include <cstdint>

namespace moe::kernels::cpu {

template <class T>
void add_forward(int64_t n, const T* a, const T* b, T* y);

template <class T>
void add_backward(int64_t n, const T* dy, T* da, T* db);

}  // namespace moe::kernels::cpu
