#include "tests/fuzz/heap.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<size_t> now = 0, peak = 0;

void* take(size_t bytes, size_t alignment) {
  void* block = nullptr;
  if (alignment <= alignof(std::max_align_t))
    block = std::malloc(bytes == 0 ? 1 : bytes);
  else if (posix_memalign(&block, alignment, bytes) != 0)
    block = nullptr;
  if (!block) throw std::bad_alloc();
  const size_t total = now += malloc_usable_size(block);
  for (size_t seen = peak; seen < total && !peak.compare_exchange_weak(seen, total);) {
  }
  return block;
}

void give_back(void* block) {
  if (!block) return;
  now -= malloc_usable_size(block);
  std::free(block);
}

}  // namespace

void* operator new(size_t bytes) {
  return take(bytes, 1);
}
void* operator new(size_t bytes, std::align_val_t alignment) {
  return take(bytes, static_cast<size_t>(alignment));
}
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return take(bytes, 1);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* block) noexcept {
  give_back(block);
}
void operator delete(void* block, size_t) noexcept {
  give_back(block);
}
void operator delete(void* block, std::align_val_t) noexcept {
  give_back(block);
}
void operator delete(void* block, size_t, std::align_val_t) noexcept {
  give_back(block);
}

// AddressSanitizer has array forms of its own, which do not call the others.
void* operator new[](size_t bytes) {
  return take(bytes, 1);
}
void operator delete[](void* block) noexcept {
  give_back(block);
}
void operator delete[](void* block, size_t) noexcept {
  give_back(block);
}

namespace moe::fuzz {

HeapUse::HeapUse() : before_(now) {
  peak = before_;
}

size_t HeapUse::most() const {
  return peak > before_ ? peak - before_ : 0;
}

}  // namespace moe::fuzz
