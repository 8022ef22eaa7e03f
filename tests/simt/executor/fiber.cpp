#include "fiber.h"

#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define __sanitizer_start_switch_fiber(...) static_cast<void>(0)
#define __sanitizer_finish_switch_fiber(...) static_cast<void>(0)
#endif

namespace simt {
namespace {

namespace context = boost::context::detail;
constexpr size_t kGuardBytes = 4096;

Fiber* g_running = nullptr;
[[maybe_unused]] const void* g_caller_stack = nullptr;
[[maybe_unused]] size_t g_caller_stack_bytes = 0;

}  // namespace

struct Fiber::Entry {
  static void run(context::transfer_t from) {
    Fiber& self = *static_cast<Fiber*>(from.data);
    __sanitizer_finish_switch_fiber(nullptr, &g_caller_stack, &g_caller_stack_bytes);
    self.caller_ = from.fctx;
    self.body_();
  }
};

Fiber::Fiber(void (*body)()) : body_(body) {
  void* memory = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, kGuardBytes, PROT_NONE);
  stack_ = static_cast<std::byte*>(memory) + kGuardBytes;
  context_ = context::make_fcontext(stack_ + kStackBytes, kStackBytes, &Entry::run);
}

Fiber::~Fiber() {
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(stack_, kStackBytes);
#endif
  munmap(stack_ - kGuardBytes, kGuardBytes + kStackBytes);
}

void Fiber::resume() {
  g_running = this;
  [[maybe_unused]] void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, stack_, kStackBytes);
  context_ = context::jump_fcontext(context_, this).fctx;
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
  g_running = nullptr;
}

void Fiber::pause() {
  Fiber& self = *g_running;
  __sanitizer_start_switch_fiber(&self.fake_stack_, g_caller_stack, g_caller_stack_bytes);
  self.caller_ = context::jump_fcontext(self.caller_, nullptr).fctx;
  __sanitizer_finish_switch_fiber(self.fake_stack_, &g_caller_stack, &g_caller_stack_bytes);
}

}  // namespace simt
