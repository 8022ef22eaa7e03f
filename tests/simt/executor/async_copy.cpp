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

void end(const Copy& c) {
  poison::permit(c.to, kBytes);
  std::memset(c.to, 0, kBytes);
  if (c.bytes) std::memcpy(c.to, c.from, c.bytes);
}

}  // namespace

void copy_async(void* shared, const void* global, int bytes) {
  if (reinterpret_cast<uintptr_t>(shared) % kBytes ||
      (bytes && reinterpret_cast<uintptr_t>(global) % kBytes) || !shared_memory::allowed(shared, kBytes) ||
      bytes < 0 || bytes > 16) {
    report(FaultKind::bounds,
           fmt::format("cp.async of {} bytes from {} to {}: both must lie on 16 bytes, the target "
                       "in shared memory",
                       bytes, global, shared));
    return;
  }
  std::memset(shared, 0xFF, kBytes);
  poison::forbid(shared, kBytes);
  Thread& t = this_thread();
  t.copies.push_back({shared, global, static_cast<size_t>(bytes), t.groups});
}

void copy_async_commit() {
  ++this_thread().groups;
}

void copy_async_wait(int pending_groups) {
  Thread& t = this_thread();
  const auto first_pending =
      std::ranges::find_if(t.copies, [&](const Copy& c) { return c.group >= t.groups - pending_groups; });
  std::for_each(t.copies.begin(), first_pending, end);
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
