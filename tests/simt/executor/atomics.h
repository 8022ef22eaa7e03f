#pragma once
// Atomic operations. Threads run one at a time, so a plain read and write is atomic; the race detector is
// told.

#include <concepts>
#include <type_traits>

#include "watch.h"

namespace simt {

// *p = next(*p) in one go; the old value. Not inlined into kernels, so that it counts as one atomic access.
template <class T, class Next>
__attribute__((noinline, no_sanitize("thread"))) T atomically(T* p, Next next) {
  watch::access(p, sizeof(T), watch::Access::atomic, __builtin_return_address(0));
  const T old = *p;
  *p = static_cast<T>(next(old));
  return old;
}

template <class T>
using Same = std::type_identity_t<T>;

}  // namespace simt

template <class T>
T atomicAdd(T* p, simt::Same<T> v) {
  return simt::atomically(p, [v](T old) { return old + v; });
}
template <std::integral T>
T atomicSub(T* p, simt::Same<T> v) {
  return simt::atomically(p, [v](T old) { return old - v; });
}
template <std::integral T>
T atomicMax(T* p, simt::Same<T> v) {
  return simt::atomically(p, [v](T old) { return old > v ? old : v; });
}
template <std::integral T>
T atomicMin(T* p, simt::Same<T> v) {
  return simt::atomically(p, [v](T old) { return old < v ? old : v; });
}
template <std::integral T>
T atomicAnd(T* p, simt::Same<T> v) {
  return simt::atomically(p, [v](T old) { return old & v; });
}
template <std::integral T>
T atomicOr(T* p, simt::Same<T> v) {
  return simt::atomically(p, [v](T old) { return old | v; });
}
template <std::integral T>
T atomicXor(T* p, simt::Same<T> v) {
  return simt::atomically(p, [v](T old) { return old ^ v; });
}
template <class T>
T atomicExch(T* p, simt::Same<T> v) {
  return simt::atomically(p, [v](T) { return v; });
}
template <std::integral T>
T atomicCAS(T* p, simt::Same<T> expected, simt::Same<T> v) {
  return simt::atomically(p, [expected, v](T old) { return old == expected ? v : old; });
}
