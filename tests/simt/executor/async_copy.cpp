#include "async_copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "block.h"
#include "fault.h"
#include "poison.h"
#include "shared.h"
#include "watch.h"

namespace simt {
namespace {

constexpr size_t kBytes = 16;

struct Copy {
  void* to;
  const void* from;
  size_t bytes;  // the rest of the 16 is zeros
  int group;
};

struct Thread {
  std::vector<Copy> copies;
  int groups = 0;  // committed ones
};

std::vector<Thread> g_threads;

Thread& this_thread() {
  return g_threads[static_cast<size_t>(Block::current()->thread())];
}

void end(const Copy& c, const void* code) {
  poison::permit(c.to, kBytes);
  watch::access_for_thread(c.to, kBytes, watch::Access::write, code);
  std::memset(c.to, 0, kBytes);
  if (c.bytes) std::memcpy(c.to, c.from, c.bytes);
}

}  // namespace

void copy_async(void* shared, const void* global, int bytes) {
  const watch::Executor executor;
  if (reinterpret_cast<uintptr_t>(shared) % kBytes ||
      (bytes && reinterpret_cast<uintptr_t>(global) % kBytes)) {
    report(FaultKind::alignment, fmt::format("cp.async of {} bytes from {} to {}: both must lie on 16 bytes",
                                             bytes, global, shared));
    return;
  }
  if (!shared_memory::allowed(shared, kBytes) || bytes < 0 || bytes > 16) {
    report(FaultKind::bounds,
           fmt::format("cp.async of {} bytes to {}: the target must lie in shared memory", bytes, shared));
    return;
  }
  const void* const code = __builtin_return_address(0);
  if (bytes) watch::access_for_thread(global, static_cast<size_t>(bytes), watch::Access::read, code);
  watch::access_for_thread(shared, kBytes, watch::Access::write, code);
  std::memset(shared, 0xFF, kBytes);
  poison::forbid(shared, kBytes);
  Thread& t = this_thread();
  t.copies.push_back({shared, global, static_cast<size_t>(bytes), t.groups});
}

void copy_async_commit() {
  const watch::Executor executor;
  ++this_thread().groups;
}

void copy_async_wait(int pending_groups) {
  const watch::Executor executor;
  const void* const code = __builtin_return_address(0);
  Thread& t = this_thread();
  const auto first_pending =
      std::ranges::find_if(t.copies, [&](const Copy& c) { return c.group >= t.groups - pending_groups; });
  for (auto c = t.copies.begin(); c != first_pending; ++c) end(*c, code);
  t.copies.erase(t.copies.begin(), first_pending);
}

namespace async_copies {

void begin_block(size_t threads) {
  g_threads.resize(std::max(threads, g_threads.size()));
  for (Thread& t : g_threads) {
    t.copies.clear();
    t.groups = 0;
  }
}

}  // namespace async_copies
}  // namespace simt
