#pragma once
// Working memory of a task.

#include <cstdint>
#include <vector>

namespace moe::kernels::cpu {

// `n` uninitialised elements that belong to this thread until its next call with the same type. The memory
// only ever grows, so a steady step allocates nothing.
template <class T>
T* thread_scratch(int64_t n) {
  thread_local std::vector<T> memory;
  if (static_cast<int64_t>(memory.size()) < n) memory.resize(static_cast<size_t>(n));
  return memory.data();
}

}  // namespace moe::kernels::cpu
