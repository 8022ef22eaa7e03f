// A task owns a range of the elements of the output.

#include "core/parallel.h"
#include "kernels/scale/scale.h"

namespace moe::kernels::cpu {
namespace {

constexpr int64_t kGrain = 16384;  // elements a task

}  // namespace

template <class T>
void scale_forward(int64_t n, double factor, const T* x, T* y) {
  parallel_ranges(n, kGrain, [=, f = static_cast<T>(factor)](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = f * x[i];
  });
}

template <class T>
void scale_backward(int64_t n, double factor, const T* dy, T* dx) {
  if (!dx) return;
  parallel_ranges(n, kGrain, [=, f = static_cast<T>(factor)](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) dx[i] += f * dy[i];
  });
}

template void scale_forward(int64_t, double, const float*, float*);
template void scale_forward(int64_t, double, const double*, double*);
template void scale_backward(int64_t, double, const float*, float*);
template void scale_backward(int64_t, double, const double*, double*);

}  // namespace moe::kernels::cpu
