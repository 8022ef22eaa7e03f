// The functions that code compiled with -fsanitize=thread calls, in place of ThreadSanitizer's own library.
// Linked into programs with such code alone.
//
// The compiler turns atomic operations on std::atomic and the guards of static variables into calls as well;
// kernels have none of the former, and the host's code around them runs on one thread.

#include <cstdint>

#include "watch.h"

using simt::watch::Access;

// The compiler calls the unaligned ones where the type allows any address.
#define SIMT_HOOK(bytes)                                                               \
  extern "C" void __tsan_read##bytes(void* p) {                                        \
    simt::watch::access_aligned(p, bytes, Access::read, __builtin_return_address(0));  \
  }                                                                                    \
  extern "C" void __tsan_write##bytes(void* p) {                                       \
    simt::watch::access_aligned(p, bytes, Access::write, __builtin_return_address(0)); \
  }                                                                                    \
  extern "C" void __tsan_unaligned_read##bytes(void* p) {                              \
    simt::watch::access(p, bytes, Access::read, __builtin_return_address(0));          \
  }                                                                                    \
  extern "C" void __tsan_unaligned_write##bytes(void* p) {                             \
    simt::watch::access(p, bytes, Access::write, __builtin_return_address(0));         \
  }
SIMT_HOOK(1)
SIMT_HOOK(2)
SIMT_HOOK(4)
SIMT_HOOK(8)
SIMT_HOOK(16)

extern "C" {

void __tsan_init() {
  simt::watch::switch_on();
}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

void __tsan_read_range(void* p, unsigned long bytes) {
  simt::watch::access(p, bytes, Access::read, __builtin_return_address(0));
}
void __tsan_write_range(void* p, unsigned long bytes) {
  simt::watch::access(p, bytes, Access::write, __builtin_return_address(0));
}

int8_t __tsan_atomic8_load(const volatile int8_t* p, int) {
  return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
int32_t __tsan_atomic32_load(const volatile int32_t* p, int) {
  return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
int64_t __tsan_atomic64_load(const volatile int64_t* p, int) {
  return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
int32_t __tsan_atomic32_fetch_add(volatile int32_t* p, int32_t v, int) {
  return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
}

}  // extern "C"
