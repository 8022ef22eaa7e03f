#pragma once
// Four neighbouring floats at a time: one access of 128 bits where the addresses allow it.

#include <cstdint>

#include "kernels/gpu.h"
#include "kernels/into.h"

namespace moe::kernels::cuda {

// Whether all rows of `stride` floats that begin at these addresses (nullptr: not used) lie on 16 bytes.
template <class... P>
__host__ __device__ bool in_vectors(int64_t stride, const P*... rows) {
  return stride % 4 == 0 && ((reinterpret_cast<uintptr_t>(rows) % 16 == 0) && ...);
}

// v = p[0..3]; zeros from the element `left` on.
__device__ inline void load4(const float* p, int64_t left, bool vectors, float (&v)[4]) {
  if (vectors && left >= 4) {
    const float4 q = *reinterpret_cast<const float4*>(p);
    v[0] = q.x;
    v[1] = q.y;
    v[2] = q.z;
    v[3] = q.w;
    return;
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) v[j] = j < left ? p[j] : 0.0f;
}

// p[0..3] = v; nothing from the element `left` on.
__device__ inline void store4(float* p, int64_t left, bool vectors, const float (&v)[4]) {
  if (vectors && left >= 4) {
    *reinterpret_cast<float4*>(p) = make_float4(v[0], v[1], v[2], v[3]);
    return;
  }
#pragma unroll
  for (int j = 0; j < 4; ++j)
    if (j < left) p[j] = v[j];
}

// p[0..3] += v; nothing from the element `left` on.
__device__ inline void add4(float* p, int64_t left, bool vectors, const float (&v)[4]) {
  float sum[4];
  load4(p, left, vectors, sum);
#pragma unroll
  for (int j = 0; j < 4; ++j) sum[j] += v[j];
  store4(p, left, vectors, sum);
}

// What `into` asks for with v at p = into.to + at: p[0..3] += v, or = v.
__device__ inline void put4(const Into<float>& into, int64_t at, int64_t left, bool vectors,
                            const float (&v)[4]) {
  if (into.add)
    add4(into.to + at, left, vectors, v);
  else
    store4(into.to + at, left, vectors, v);
}

}  // namespace moe::kernels::cuda
