#pragma once
// Working memory of a task.

#include <cstdint>
#include <memory>
#include <new>

namespace moe::kernels::cpu {

// `n` uninitialised elements that belong to this thread until its next call with the same type, beginning on
// a line of the cache. The memory only ever grows, so a steady step allocates nothing.
template <class T>
T* thread_scratch(int64_t n) {
  static constexpr std::align_val_t kLine{64};
  struct Free {
    void operator()(T* data) const { operator delete[](data, kLine); }
  };
  thread_local std::unique_ptr<T[], Free> memory;
  thread_local int64_t size = 0;
  if (size < n) {
    size = 0;
    memory.reset();
    memory.reset(static_cast<T*>(operator new[](static_cast<size_t>(n) * sizeof(T), kLine)));
    size = n;
  }
  return memory.get();
}

}  // namespace moe::kernels::cpu
