#pragma once
// Operations that see one element of each array at a time.
//
// A thread owns four neighbouring elements of each output; everything is read once and written once.

#include "core/device.h"
#include "kernels/grid.cuh"
#include "kernels/vectors.cuh"

namespace moe::kernels::cuda {

template <class T, int kCount>
struct Pointers {
  T* at[kCount];
};

// f(i, x, y): y[o][0..3] from x[a][0..3], elements i .. i+3 of input a and output o. Behind the end x is 0.
template <int kIn, int kOut, class F>
__global__ void elementwise_kernel(int64_t n, bool vectors, Pointers<const float, kIn> in,
                                   Pointers<float, kOut> out, F f) {
  const int64_t i = 4 * global_thread();
  if (i >= n) return;
  float x[kIn][4], y[kOut][4];
#pragma unroll
  for (int a = 0; a < kIn; ++a) load4(in.at[a] + i, n - i, vectors, x[a]);
  f(i, x, y);
#pragma unroll
  for (int o = 0; o < kOut; ++o) store4(out.at[o] + i, n - i, vectors, y[o]);
}

// An output may be one of the inputs.
template <int kIn, int kOut, class F>
void elementwise(int64_t n, Pointers<const float, kIn> in, Pointers<float, kOut> out, F f, Stream stream) {
  constexpr int kThreads = 256;
  bool vectors = true;
  for (const float* p : in.at) vectors = vectors && in_vectors(0, p);
  for (const float* p : out.at) vectors = vectors && in_vectors(0, p);
  gpu::launch<elementwise_kernel<kIn, kOut, F>>({blocks_for(n, 4 * kThreads), kThreads, 0, stream}, n,
                                                vectors, in, out, f);
}

}  // namespace moe::kernels::cuda
