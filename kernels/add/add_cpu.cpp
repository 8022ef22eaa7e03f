// A task owns a range of the elements of each output.

#include "core/parallel.h"
#include "kernels/add/add.h"

namespace moe::kernels::cpu {
namespace {

constexpr int64_t kGrain = 16384;  // elements a task

}  // namespace

template <class T>
void add_forward(int64_t n, const T* a, const T* b, T* y) {
  parallel_ranges(n, kGrain, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = a[i] + b[i];
  });
}

template <class T>
void add_backward(int64_t n, const T* dy, T* da, T* db) {
  parallel_ranges(n, kGrain, [=](int64_t begin, int64_t end) {
    for (T* dx : {da, db})
      for (int64_t i = begin; dx && i < end; ++i) dx[i] += dy[i];
  });
}

template <class T>
void add_constant(int64_t n, double value, T* x) {
  parallel_ranges(n, kGrain, [=, v = static_cast<T>(value)](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) x[i] += v;
  });
}

template void add_forward(int64_t, const float*, const float*, float*);
template void add_forward(int64_t, const double*, const double*, double*);
template void add_backward(int64_t, const float*, float*, float*);
template void add_backward(int64_t, const double*, double*, double*);
template void add_constant(int64_t, double, float*);
template void add_constant(int64_t, double, double*);

}  // namespace moe::kernels::cpu
