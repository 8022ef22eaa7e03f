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
// A macro, since these functions differ in a part of their names: SIMT_CONVERSIONS(uint, unsigned) defines
// __uint2float_rn, __float2uint_rn and so on.
#define SIMT_CONVERSIONS(name, I)             \
  inline float __##name##2float_rn(I x) {     \
    return static_cast<float>(x);             \
  }                                           \
  inline float __##name##2float_ru(I x) {     \
    return simt::float_up(x);                 \
  }                                           \
  inline float __##name##2float_rd(I x) {     \
    return simt::float_down(x);               \
  }                                           \
  inline float __##name##2float_rz(I x) {     \
    return simt::float_to_zero(x);            \
  }                                           \
  inline I __float2##name##_rn(float x) {     \
    return static_cast<I>(std::nearbyint(x)); \
  }                                           \
  inline I __float2##name##_ru(float x) {     \
    return static_cast<I>(std::ceil(x));      \
  }                                           \
  inline I __float2##name##_rd(float x) {     \
    return static_cast<I>(std::floor(x));     \
  }                                           \
  inline I __float2##name##_rz(float x) {     \
    return static_cast<I>(std::trunc(x));     \
  }
SIMT_CONVERSIONS(int, int)
SIMT_CONVERSIONS(uint, unsigned)
SIMT_CONVERSIONS(ll, long long)
SIMT_CONVERSIONS(ull, unsigned long long)
#undef SIMT_CONVERSIONS

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
