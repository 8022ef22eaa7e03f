#pragma once
// The instructions of tensor cores, sm_80 and later (bf16, tf32) or sm_75 (ldmatrix). On the GPU each
// function is one PTX instruction; on the CPU the executor does what the PTX ISA says it does, lane by lane
// (tests/simt/executor/matrix.h).
//
// A warp holds a matrix in the registers of its lanes. With g = lane / 4 and t = lane % 4, the elements of a
// lane are
//
//   A 16x16, bf16   a[0] (g, 2t..2t+1)    a[1] (g+8, 2t..2t+1)    a[2] (g, 2t+8..2t+9)    a[3] (g+8, 2t+8..)
//   B 16x8,  bf16   b[0] (2t..2t+1, g)    b[1] (2t+8..2t+9, g)
//   A 16x8,  tf32   a[0] (g, t)           a[1] (g+8, t)           a[2] (g, t+4)           a[3] (g+8, t+4)
//   B 8x8,   tf32   b[0] (t, g)           b[1] (t+4, g)
//   C 16x8,  float  c[0], c[1] (g, 2t..2t+1)                      c[2], c[3] (g+8, 2t..2t+1)
//
// with two elements of bf16 in a register, that of the lower column (of B: row) in the lower half.
//
// Products and ldmatrix are for whole warps: all 32 lanes call, at the same place.

#include "kernels/gpu.h"

namespace moe::gpu {

// c += A B, A 16x16 and B 16x8 in bf16, sums in float. The GPU adds in an order and a precision of its own.
__device__ inline void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if defined(__CUDACC__)
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
#else
  simt::mma_m16n8k16_bf16(c, a, b);
#endif
}

// c += A B, A 16x8 and B 8x8 in tf32: floats of which the upper 19 bits count (to_tf32 rounds to them).
__device__ inline void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if defined(__CUDACC__)
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
#else
  simt::mma_m16n8k8_tf32(c, a, b);
#endif
}

// The nearest number with 10 bits of mantissa, ties away from zero.
__device__ inline unsigned to_tf32(float x) {
#if defined(__CUDACC__)
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  unsigned rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
  return rounded;
#else
  return __float_as_uint(x);
#endif
#else
  return simt::round_to_tf32(x);
#endif
}

// Two elements of a register: the nearest numbers in bf16, ties to even.
__device__ inline unsigned bf16_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  unsigned bits;
  memcpy(&bits, &pair, sizeof bits);
  return bits;
}

// Four 8x8 matrices of 16-bit elements from shared memory: lane l names row l % 8 of matrix l / 8, 16 aligned
// bytes, and gets in r[m] the elements (g, 2t) and (g, 2t+1) of matrix m.
__device__ inline void ldmatrix_x4(unsigned (&r)[4], const void* shared_row) {
#if defined(__CUDACC__)
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
#else
  simt::ldmatrix_x4(r, shared_row, false);
#endif
}

// As above, of the transposed matrices: r[m] holds the elements (2t, g) and (2t+1, g) of matrix m.
__device__ inline void ldmatrix_x4_trans(unsigned (&r)[4], const void* shared_row) {
#if defined(__CUDACC__)
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
#else
  simt::ldmatrix_x4(r, shared_row, true);
#endif
}

}  // namespace moe::gpu
