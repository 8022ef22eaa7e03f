#pragma once
// Where a backward kernel puts a gradient.

#include <cstdint>

#include "core/host_device.h"

namespace moe::kernels {

template <class T>
struct Into {
  T* to = nullptr;  // nullptr: the gradient is not needed
  bool add = true;  // false: `to` is uninitialised, and the kernel writes all of it

  Into() = default;
  MOE_HOST_DEVICE Into(T* to_, bool add_ = true) : to(to_), add(add_) {}
  explicit operator bool() const { return to != nullptr; }

  MOE_HOST_DEVICE Into from(int64_t offset) const { return {to ? to + offset : nullptr, add}; }
  void put(int64_t i, T v) const { to[i] = add ? to[i] + v : v; }
};

// Elements [begin, end) of a gradient that is assigned: they are zero, but nobody has written that.
struct Gap {
  int64_t begin, end;
};

}  // namespace moe::kernels
