#pragma once
// NVIDIA's own half and bfloat16 types. Their headers give the operators to device code only, and a few
// conversions by PTX; both are steered here from outside, so that the arithmetic is NVIDIA's word for word.

#include <cmath>

#include "intrinsics.h"
#include "qualifiers.h"

// Conversions between integers and floats that the headers use, in all four roundings: to nearest, up, down,
// to zero.
namespace simt {

template <class I>
float float_up(I x) {
  const float nearest = static_cast<float>(x);
  return static_cast<long double>(nearest) < static_cast<long double>(x) ? std::nextafter(nearest, INFINITY)
                                                                         : nearest;
}
template <class I>
float float_down(I x) {
  const float nearest = static_cast<float>(x);
  return static_cast<long double>(nearest) > static_cast<long double>(x) ? std::nextafter(nearest, -INFINITY)
                                                                         : nearest;
}
template <class I>
float float_to_zero(I x) {
  return x > 0 ? float_down(x) : float_up(x);
}

}  // namespace simt

inline float __fmaf_ieee_rn(float a, float b, float c) {
  return std::fma(a, b, c);
}
inline float __int2float_rn(int x) {
  return static_cast<float>(x);
}
inline float __int2float_ru(int x) {
  return simt::float_up(x);
}
inline float __int2float_rd(int x) {
  return simt::float_down(x);
}
inline float __int2float_rz(int x) {
  return simt::float_to_zero(x);
}
inline int __float2int_rn(float x) {
  return static_cast<int>(std::nearbyint(x));
}
inline int __float2int_ru(float x) {
  return static_cast<int>(std::ceil(x));
}
inline int __float2int_rd(float x) {
  return static_cast<int>(std::floor(x));
}
inline int __float2int_rz(float x) {
  return static_cast<int>(std::trunc(x));
}
inline float __uint2float_rn(unsigned x) {
  return static_cast<float>(x);
}
inline float __uint2float_ru(unsigned x) {
  return simt::float_up(x);
}
inline float __uint2float_rd(unsigned x) {
  return simt::float_down(x);
}
inline float __uint2float_rz(unsigned x) {
  return simt::float_to_zero(x);
}
inline unsigned __float2uint_rn(float x) {
  return static_cast<unsigned>(std::nearbyint(x));
}
inline unsigned __float2uint_ru(float x) {
  return static_cast<unsigned>(std::ceil(x));
}
inline unsigned __float2uint_rd(float x) {
  return static_cast<unsigned>(std::floor(x));
}
inline unsigned __float2uint_rz(float x) {
  return static_cast<unsigned>(std::trunc(x));
}
inline float __ll2float_rn(long long x) {
  return static_cast<float>(x);
}
inline float __ll2float_ru(long long x) {
  return simt::float_up(x);
}
inline float __ll2float_rd(long long x) {
  return simt::float_down(x);
}
inline float __ll2float_rz(long long x) {
  return simt::float_to_zero(x);
}
inline long long __float2ll_rn(float x) {
  return static_cast<long long>(std::nearbyint(x));
}
inline long long __float2ll_ru(float x) {
  return static_cast<long long>(std::ceil(x));
}
inline long long __float2ll_rd(float x) {
  return static_cast<long long>(std::floor(x));
}
inline long long __float2ll_rz(float x) {
  return static_cast<long long>(std::trunc(x));
}
inline float __ull2float_rn(unsigned long long x) {
  return static_cast<float>(x);
}
inline float __ull2float_ru(unsigned long long x) {
  return simt::float_up(x);
}
inline float __ull2float_rd(unsigned long long x) {
  return simt::float_down(x);
}
inline float __ull2float_rz(unsigned long long x) {
  return simt::float_to_zero(x);
}
inline unsigned long long __float2ull_rn(float x) {
  return static_cast<unsigned long long>(std::nearbyint(x));
}
inline unsigned long long __float2ull_ru(float x) {
  return static_cast<unsigned long long>(std::ceil(x));
}
inline unsigned long long __float2ull_rd(float x) {
  return static_cast<unsigned long long>(std::floor(x));
}
inline unsigned long long __float2ull_rz(float x) {
  return static_cast<unsigned long long>(std::trunc(x));
}

// Their caching loads and stores are PTX: hidden, ours are in intrinsics.h.
#define __ldg simt_hidden_ldg
#define __ldcs simt_hidden_ldcs
#define __ldcg simt_hidden_ldcg
#define __ldca simt_hidden_ldca
#define __ldlu simt_hidden_ldlu
#define __ldcv simt_hidden_ldcv
#define __stcs simt_hidden_stcs
#define __stcg simt_hidden_stcg
#define __stwb simt_hidden_stwb
#define __stwt simt_hidden_stwt
#define _NVHPC_CUDA 1  // a compiler for host and device in one, for which all is declared
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#undef _NVHPC_CUDA
#undef __ldg
#undef __ldcs
#undef __ldcg
#undef __ldca
#undef __ldlu
#undef __ldcv
#undef __stcs
#undef __stcg
#undef __stwb
#undef __stwt
