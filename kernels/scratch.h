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
  struct Memory {
    T* data = nullptr;
    int64_t size = 0;
    ~Memory() { operator delete[](data, kLine); }
  };
  thread_local Memory memory;
  if (memory.size < n) {
    operator delete[](memory.data, kLine);
    memory = {};
    memory.data = static_cast<T*>(operator new[](static_cast<size_t>(n) * sizeof(T), kLine));
    memory.size = n;
  }
  return memory.data;
}

}  // namespace moe::kernels::cpu
