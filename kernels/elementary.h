#pragma once
// Elementary functions of one number for the CPU; loops over the float ones vectorise. There are no vectors
// here, so that CUDA sources can include it: see kernels/math.h.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace moe::kernels::cpu {

// a * b + c: one rounding where the processor has an instruction for it, two elsewhere; never a library call.
#if defined(__FMA__) || defined(__aarch64__)
inline float fma(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
inline double fma(double a, double b, double c) {
  return __builtin_fma(a, b, c);
}
#else
inline float fma(float a, float b, float c) {
  return a * b + c;
}
inline double fma(double a, double b, double c) {
  return a * b + c;
}
#endif
// Lane by lane, of vectors: kernels/math.h.
template <class V>
requires(!std::is_arithmetic_v<V>) V fma(V a, V b, V c);

namespace detail {

// e^x for F float or a vector of floats, U the unsigned integers of its size; within 1.5 units in the
// last place. x = n ln 2 + r with |r| <= ln 2 / 2, where ln 2 is cut in two so that n times its upper part is
// exact (Cody and Waite 1980). e^r by the polynomial of Cephes (Moshier, expf.c). 2^n through the exponent
// bits in two factors, for 2^128 is no float. Below the smallest normal number the result is 0. NaN stays
// NaN.
template <class U, class F>
[[gnu::always_inline]] inline F exp(F x) {
  const auto all = [](float c) {
    if constexpr (std::is_same_v<F, float>)
      return c;
    else
      return c - F{};
  };
  constexpr float kLowest = -87.33654f;  // log of the smallest normal number
  constexpr float kHighest = 88.72283f;  // log of the largest
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: a sum with it is rounded to an integer
  const F shifted = fma(x, all(1.44269504f), all(kRound));
  const F n = shifted - kRound;
  const F r = fma(n, all(2.12194440e-4f), fma(n, all(-0.693359375f), x));
  F p = fma(r, all(1.9875691500e-4f), all(1.3981999507e-3f));
  p = fma(p, r, all(8.3334519073e-3f));
  p = fma(p, r, all(4.1665795894e-2f));
  p = fma(p, r, all(1.6666665459e-1f));
  p = fma(p, r, all(5.0000001201e-1f));
  p = fma(p, r * r, r) + 1.0f;
  const U biased = std::bit_cast<U>(shifted) - std::bit_cast<uint32_t>(kRound) + 254u;  // n + 2 * 127
  const U half = biased >> 1;
  p = p * std::bit_cast<F>(half << 23) * std::bit_cast<F>((biased - half) << 23);
  p = x < kLowest ? all(0.0f) : p;
  return x > kHighest ? all(std::numeric_limits<float>::infinity()) : p;
}

}  // namespace detail

inline float fast_exp(float x) {
  return detail::exp<uint32_t>(x);
}
inline double fast_exp(double x) {
  return std::exp(x);
}

// log(1 + e^x) = max(x, 0) + log1p(t) with t = e^-|x|; the float one within 3 units in the last place.
// log1p(t) = 2 artanh(z) with z = t / (2 + t) <= 1/3: the first eight terms of the series; those left out are
// less than 2e-9 of the sum.
inline float fast_softplus(float x) {
  const float t = fast_exp(x > 0 ? -x : x);
  const float z = t / (2.0f + t), z2 = z * z;
  float p = fma(z2, 2.0f / 15, 2.0f / 13);
  p = fma(p, z2, 2.0f / 11);
  p = fma(p, z2, 2.0f / 9);
  p = fma(p, z2, 2.0f / 7);
  p = fma(p, z2, 2.0f / 5);
  p = fma(p, z2, 2.0f / 3);
  p = fma(p, z2, 2.0f);
  return fma(p, z, x > 0 ? x : 0.0f);
}
inline double fast_softplus(double x) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}

}  // namespace moe::kernels::cpu
