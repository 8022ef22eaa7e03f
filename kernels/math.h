#pragma once
// Arithmetic for CPU kernels: short vectors, elementary functions of their lanes, and reductions of a row.
//
// Every sum here adds element i to lane i % (2 kLanes) and folds the lanes in one fixed tree: its bits depend
// on the values and the length alone, not on alignment, neighbours or the width of the processor's registers.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "kernels/elementary.h"

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace moe::kernels::cpu {

// Eight elements, whatever the processor: lanes of sums. The compiler splits them where registers are
// shorter.
inline constexpr int64_t kLanes = 8;

// One register of floats: for elements that do not meet. GCC keeps longer vectors in memory.
#if defined(__AVX512F__)
inline constexpr int64_t kNativeLanes = 16;
#elif defined(__AVX2__)
inline constexpr int64_t kNativeLanes = 8;
#else
inline constexpr int64_t kNativeLanes = 4;
#endif

namespace detail {
template <class T, int64_t Lanes>
struct VecOf {
  typedef T type __attribute__((vector_size(Lanes * sizeof(T))));
};
}  // namespace detail
template <class T>
using Vec = typename detail::VecOf<T, kLanes>::type;
template <class T>
using NativeVec = typename detail::VecOf<T, kNativeLanes>::type;

// n rounded up to a multiple.
constexpr int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

template <class T>
Vec<T> broadcast(T x) {
  return x - Vec<T>{};  // x - 0 is x, for -0 and NaN too
}

template <class T>
Vec<T> load(const T* p) {
  Vec<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// The first `count` elements, at most kLanes, then `fill`.
template <class T>
Vec<T> load(const T* p, int64_t count, T fill) {
  if (count >= kLanes) return load(p);
  Vec<T> v = broadcast(fill);
  for (int64_t l = 0; l < count; ++l) v[l] = p[l];
  return v;
}

template <class T>
NativeVec<T> load_native(const T* p) {
  NativeVec<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// The first `count` elements, at most kNativeLanes, then 0.
template <class T>
NativeVec<T> load_native(const T* p, int64_t count) {
  if (count >= kNativeLanes) return load_native(p);
  NativeVec<T> v{};
  for (int64_t l = 0; l < count; ++l) v[l] = p[l];
  return v;
}

template <class T>
NativeVec<T> broadcast_native(T x) {
  return x - NativeVec<T>{};  // as broadcast
}

template <class V, class T>
void store(T* p, V v) {
  std::memcpy(p, &v, sizeof v);
}

// The first `count` lanes, at most all.
template <class V, class T>
void store(T* p, V v, int64_t count) {
  constexpr int64_t kAll = sizeof(V) / sizeof(T);
  if (count >= kAll) return store(p, v);
  for (int64_t l = 0; l < count; ++l) p[l] = v[l];
}

// Lane by lane. GCC 12 does not see that sixteen of them are one instruction.
template <class V>
requires(!std::is_arithmetic_v<V>) [[gnu::always_inline]] inline V fma(V a, V b, V c) {
#ifdef __AVX512F__
  if constexpr (std::is_same_v<V, NativeVec<float>>) return _mm512_fmadd_ps(a, b, c);
  if constexpr (std::is_same_v<V, Vec<double>>) return _mm512_fmadd_pd(a, b, c);
#endif
#if defined(__FMA__) || defined(__aarch64__)
  V r;
#pragma GCC unroll 16
  for (size_t l = 0; l < sizeof(V) / sizeof a[0]; ++l) r[l] = fma(a[l], b[l], c[l]);
  return r;
#else
  return a * b + c;
#endif
}

// Lane by lane.
inline Vec<double> sqrt(Vec<double> x) {
#ifdef __AVX512F__
  // Unmasked under this mask; the plain one makes GCC 12 warn of its own header.
  return _mm512_maskz_sqrt_pd(0xFF, x);
#else
#pragma GCC unroll 8
  for (int l = 0; l < kLanes; ++l) x[l] = std::sqrt(x[l]);
  return x;
#endif
}

template <class V>
requires(!std::is_arithmetic_v<V>) [[gnu::always_inline]] inline V fast_exp(V x) {
  using T = std::remove_cvref_t<decltype(x[0])>;
  constexpr int lanes = sizeof(V) / sizeof(T);
  if constexpr (std::is_same_v<T, float>) {
    return detail::exp<typename detail::VecOf<uint32_t, lanes>::type>(x);
  } else {
    for (int l = 0; l < lanes; ++l) x[l] = std::exp(x[l]);
    return x;
  }
}

namespace detail {

template <class T>
T sum_lanes(Vec<T> v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

// add(lanes, i, count) adds the terms of elements i .. i+count-1 to the first lanes.
template <class T, class Add>
T reduce(int64_t n, Add add) {
  Vec<T> a{}, b{};  // two, for one would wait for each addition to end
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    a = add(a, i, kLanes);
    b = add(b, i + kLanes, kLanes);
  }
  for (; i < n; i += kLanes) {
    a = add(a, i, n - i);
    std::swap(a, b);
  }
  return sum_lanes<T>(a + b);
}

}  // namespace detail

template <class T>
T sum(const T* x, int64_t n) {
  return detail::reduce<T>(n,
                           [=](Vec<T> s, int64_t i, int64_t count) { return s + load(x + i, count, T(0)); });
}

template <class T>
T dot(const T* a, const T* b, int64_t n) {
  return detail::reduce<T>(n, [=](Vec<T> s, int64_t i, int64_t count) {
    return fma(load(a + i, count, T(0)), load(b + i, count, T(0)), s);
  });
}

// The sum of e^(x[i] - shift).
template <class T>
T sum_exp(const T* x, int64_t n, T shift) {
  return detail::reduce<T>(n, [=](Vec<T> s, int64_t i, int64_t count) {
    return s + fast_exp(load(x + i, count, -std::numeric_limits<T>::infinity()) - shift);
  });
}

// The largest of n values, minus infinity of none.
template <class T>
T max_of(const T* x, int64_t n) {
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  Vec<T> m = broadcast(kNone);
  for (int64_t i = 0; i < n; i += kLanes) {
    const Vec<T> v = load(x + i, n - i, kNone);
    m = v > m ? v : m;
  }
  T most = m[0];
  for (int l = 1; l < kLanes; ++l) most = m[l] > most ? m[l] : most;
  return most;
}

}  // namespace moe::kernels::cpu
