// A thread owns four elements of the output; every array is read or written once.

#include "kernels/elementwise.cuh"
#include "kernels/pointwise/pointwise.h"

namespace moe::kernels::cuda {
namespace {

template <class F>
struct Value {
  __device__ void operator()(int64_t, const float (&x)[1][4], float (&y)[1][4]) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) y[0][j] = F::value(x[0][j]);
  }
};

template <class F>
struct Gradient {
  // in: x, dy, dx
  __device__ void operator()(int64_t, const float (&in)[3][4], float (&dx)[1][4]) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) dx[0][j] = in[2][j] + in[1][j] * F::derivative(in[0][j]);
  }
};

}  // namespace

template <Compiled F>
void pointwise_forward(F, int64_t n, const float* x, float* y, Stream stream) {
  elementwise<1, 1>(n, {{x}}, {{y}}, Value<F>{}, stream);
}

template <Compiled F>
void pointwise_backward(F, int64_t n, const float* x, const float* dy, float* dx, Stream stream) {
  if (!dx) return;
  elementwise<3, 1>(n, {{x, dy, dx}}, {{dx}}, Gradient<F>{}, stream);
}

template void pointwise_forward(Relu, int64_t, const float*, float*, Stream);
template void pointwise_forward(Silu, int64_t, const float*, float*, Stream);
template void pointwise_forward(Softplus, int64_t, const float*, float*, Stream);
template void pointwise_backward(Relu, int64_t, const float*, const float*, float*, Stream);
template void pointwise_backward(Silu, int64_t, const float*, const float*, float*, Stream);
template void pointwise_backward(Softplus, int64_t, const float*, const float*, float*, Stream);

}  // namespace moe::kernels::cuda
