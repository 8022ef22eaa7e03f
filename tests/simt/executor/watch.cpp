#include "watch.h"

#include <fmt/format.h>

#include "block.h"
#include "code_place.h"
#include "fault.h"
#include "memory.h"
#include "race.h"
#include "traffic.h"

// The program's own image: its code and constants, which end where its variables begin. Set by the linker.
extern "C" const char __executable_start, __data_start;

namespace simt::watch {
namespace {

bool g_on = false;
Range g_last;  // the allocation of the last access

bool inside(const Range& r, const void* p) {
  return p >= r.begin && p < r.end;
}

// Whether p lies where a kernel may read and nothing may write: among the program's constants or the kernel's
// arguments, or in a built-in variable.
bool is_constant(const void* p, const Block& block) {
  if (p >= &__executable_start && p < &__data_start) return true;
  if (inside(block.grid().arguments, p)) return true;
  const auto in = [p](const auto& variable) {
    return p >= static_cast<const void*>(&variable) && p < static_cast<const void*>(&variable + 1);
  };
  return in(threadIdx) || in(blockIdx) || in(blockDim) || in(gridDim);
}

void report_bounds(size_t bytes, Access access, const void* code, const char* why) {
  report(FaultKind::bounds,
         fmt::format("{} of {} bytes at {} {}", name_of(access), bytes, place_of(code), why));
}

}  // namespace

const char* name_of(Access a) {
  return a == Access::read ? "read" : a == Access::write ? "write" : "atomic operation";
}

bool on() {
  return g_on;
}

void switch_on() {
  g_on = true;
}

void access(const void* p, size_t bytes, Access access, const void* code) {
  if (!Executor::running) access_for_thread(p, bytes, access, code);
}

void access_aligned(const void* p, size_t bytes, Access access, const void* code) {
  if (Executor::running) return;
  Block* const block = Block::current();
  if (reinterpret_cast<uintptr_t>(p) % bytes && g_on && block && !block->on_stack(p)) {
    {
      const Executor executor;
      report(FaultKind::alignment,
             fmt::format("{} of {} bytes at {}, at an address that is no multiple of {}", name_of(access),
                         bytes, place_of(code), bytes));
    }
    block->give_up();  // the processor that runs this would not take the address either
  }
  access_for_thread(p, bytes, access, code);
}

void access_for_thread(const void* p, size_t bytes, Access access, const void* code) {
  const Block* const block = Block::current();
  if (!g_on || !block || block->on_stack(p)) return;
  const Executor executor;
  if (inside(shared_memory::arena(), p)) {
    if (!shared_memory::allowed(p, bytes))
      return report_bounds(bytes, access, code, "leaves its variable in shared memory");
    race::check_shared(p, bytes, access, code);
    return traffic::shared(p, bytes, access, code);
  }
  if (!inside(g_last, p)) g_last = device_memory::find(p);
  if (!g_last.begin) {
    if (access == Access::read && is_constant(p, *block)) return;
    return report_bounds(bytes, access, code, "is no access to device memory");
  }
  if (static_cast<const std::byte*>(p) + bytes > g_last.end)
    return report_bounds(bytes, access, code, "runs over the end of its allocation");
  race::check_global(g_last, p, bytes, access, code);
  traffic::global(g_last, p, bytes, access, code);
}

void copy(const void* p, size_t bytes, bool write) {
  if (!g_on || bytes == 0) return;
  if (const Range range = device_memory::find(p); range.begin)
    race::check_global(range, p, bytes, write ? Access::write : Access::read, nullptr);
}

void forget(Range range) {
  g_last = {};
  race::forget(range);
  traffic::forget(range);
}

}  // namespace simt::watch
