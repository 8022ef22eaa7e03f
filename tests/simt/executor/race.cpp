#include "race.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <new>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "block.h"
#include "code_place.h"
#include "fault.h"

namespace simt::race {
namespace {

using watch::Access;

// Who accessed, and when by the clocks that matter.
struct Record {
  uint32_t operation = 0;  // index into g_operations; 0 is the host, which comes before all
  uint32_t block = 0, barriers = 0;
  uint32_t clock = 0;  // of each of the lanes, see Warp
  const void* code = nullptr;
  uint32_t lanes = 0;  // one, or of a read all that read at this clock
  uint16_t warp = 0;
  Access access = Access::none;
  uint8_t bytes = 0;  // which of the two

  bool none() const { return access == Access::none; }
  bool in_block_of(const Record& r) const { return operation == r.operation && block == r.block; }
  // By the same warp at the same clock: what comes after a lane's access is told by the lane.
  bool at_clock_of(const Record& r) const {
    return in_block_of(r) && warp == r.warp && barriers == r.barriers && clock == r.clock && bytes == r.bytes;
  }
};

constexpr size_t kCellBytes = 2;
// What is kept of the accesses to a cell. The reads are the last one and, of those that it does not come
// after, the last of other lanes of its warp, of another warp of its block, and of another block or
// operation.
struct Cell {
  Record write, read, read_other_lanes, read_other_warp, read_elsewhere;
};

// Cells for a piece of memory. Pages that nobody touches take no memory.
class Shadow {
 public:
  explicit Shadow(size_t bytes) : bytes_((bytes + kCellBytes) / kCellBytes * sizeof(Cell)) {
    void* const memory =
        mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    cells_ = static_cast<Cell*>(memory);  // zeros are a valid cell, without records
  }
  ~Shadow() { munmap(cells_, bytes_); }
  Shadow(const Shadow&) = delete;
  Shadow& operator=(const Shadow&) = delete;
  Cell& operator[](size_t i) { return cells_[i]; }

 private:
  size_t bytes_;
  Cell* cells_;
};

struct OperationEntry {
  std::string name;
  size_t stream;
  uint64_t number;
};

// Vector clocks of a warp: known[l][k] is the last clock of lane k that lane l comes after; its own at
// [l][l].
struct Warp {
  uint32_t known[32][32];
};

bool g_checking = true;
std::vector<OperationEntry> g_operations{{"the host", 0, 0}};
uint32_t g_operation = 0;  // that runs
Clock g_after;
uint32_t g_barriers = 0;  // since the block began
std::vector<Warp> g_warps;
std::map<const std::byte*, Shadow> g_shadows;
const std::byte* g_last = nullptr;  // the allocation of the last access, and its shadow
Shadow* g_last_shadow = nullptr;

enum class Memory { shared, global };

// The lanes of the record that the access does not come after.
uint32_t unordered(const Record& before, const Record& now, Memory memory) {
  if (before.operation != now.operation) {
    if (memory == Memory::shared || before.operation == 0) return 0;
    const OperationEntry& o = g_operations[before.operation];
    return g_after[o.stream] >= o.number ? 0 : before.lanes;
  }
  if (before.block != now.block) return memory == Memory::shared ? 0 : before.lanes;  // shared: begun anew
  if (before.barriers != now.barriers) return 0;
  if (before.warp != now.warp) return before.lanes;
  const int lane = std::countr_zero(now.lanes);
  uint32_t lanes = 0;
  for (uint32_t rest = before.lanes & ~now.lanes; rest; rest &= rest - 1)
    if (const int l = std::countr_zero(rest); g_warps[now.warp].known[lane][l] < before.clock)
      lanes |= 1u << l;
  return lanes;
}

std::string describe(const Record& r) {
  return fmt::format("{} at {}", watch::name_of(r.access), place_of(r.code));
}

// Whether these two instructions are not among those reported: to say what they do takes far longer than to
// see it, and a loop does it again and again.
bool is_new(const Record& before, const Record& now) {
  static std::set<std::tuple<const void*, Access, const void*, Access>> known;
  static uint64_t taken = 0;
  if (std::exchange(taken, times_taken()) != times_taken()) known.clear();
  return known.emplace(before.code, before.access, now.code, now.access).second;
}

void check_pair(const Record& before, const Record& now, Memory memory) {
  if (before.none() || !(before.bytes & now.bytes)) return;
  if (before.access == Access::atomic && now.access == Access::atomic) return;
  const uint32_t lanes = unordered(before, now, memory);
  if (!lanes || !is_new(before, now)) return;
  const std::string who =
      before.operation != now.operation
          ? fmt::format("{} (stream {}) and {} (stream {})", g_operations[before.operation].name,
                        g_operations[before.operation].stream, g_operations[now.operation].name,
                        g_operations[now.operation].stream)
          : fmt::format("block {} thread {} and block {} thread {}", before.block,
                        32 * before.warp + std::countr_zero(lanes), now.block,
                        32 * now.warp + std::countr_zero(now.lanes));
  const std::string what = fmt::format("{} and {}", describe(before), describe(now));
  report(FaultKind::race,
         fmt::format("{}, {} memory, are not ordered: {}", what,
                     memory == Memory::shared ? "shared" : "global", who),
         what);
}

void check_initialised(const Cell& cell, const Record& now, Memory memory) {
  const Record& w = cell.write;
  const bool written = !w.none() && (memory == Memory::global || w.in_block_of(now));
  if (written || !is_new({}, now)) return;
  const std::string what = fmt::format("{} of {} memory that nothing has written", describe(now),
                                       memory == Memory::shared ? "shared" : "device");
  report(FaultKind::uninitialised, what);
}

// A read that comes after another one takes its place: what is not ordered with the older one is not ordered
// with the newer one either.
void keep_read(Cell& cell, const Record& now, Memory memory) {
  const Record last = std::exchange(cell.read, now);
  if (last.none()) return;
  if (!last.in_block_of(now)) {
    // One of another operation that this one does not come after stays: what this operation writes races with
    // that as well.
    const Record& kept = cell.read_elsewhere;
    if (kept.operation == now.operation || !unordered(kept, now, memory)) cell.read_elsewhere = last;
  } else if (last.warp != now.warp) {
    cell.read_other_warp = last;
  } else if (last.at_clock_of(now)) {
    cell.read.lanes |= last.lanes;
  } else if (unordered(last, now, memory)) {
    if (cell.read_other_lanes.at_clock_of(now)) cell.read.lanes |= cell.read_other_lanes.lanes;
    cell.read_other_lanes = last;
  }
}

void check(Cell& cell, const Record& now, Memory memory) {
  check_pair(cell.write, now, memory);
  if (now.access != Access::write) check_initialised(cell, now, memory);
  if (now.access == Access::read) return keep_read(cell, now, memory);
  check_pair(cell.read, now, memory);
  check_pair(cell.read_other_lanes, now, memory);
  check_pair(cell.read_other_warp, now, memory);
  check_pair(cell.read_elsewhere, now, memory);
  cell.write = now;
}

void check(Shadow& shadow, size_t offset, size_t bytes, Record now, Memory memory) {
  for (size_t i = offset / kCellBytes; i <= (offset + bytes - 1) / kCellBytes; ++i) {
    const bool low = i * kCellBytes >= offset, high = i * kCellBytes + 1 < offset + bytes;
    now.bytes = static_cast<uint8_t>(low | high << 1);
    check(shadow[i], now, memory);
  }
}

Record record(Access access, const void* code) {
  Record r{.operation = g_operation, .code = code, .lanes = 1, .access = access};
  if (const Block* const block = Block::current()) {
    r.block = static_cast<uint32_t>(block->index());
    r.barriers = g_barriers;
    r.warp = static_cast<uint16_t>(block->thread() / 32);
    const int lane = block->thread() % 32;
    r.lanes = 1u << lane;
    r.clock = g_warps[r.warp].known[lane][lane];
  }
  return r;
}

}  // namespace

void check_accesses(bool on) {
  g_checking = on;
}

void begin_operation(const std::string& name, size_t stream, uint64_t number, const Clock& after) {
  if (!watch::on()) return;
  g_operation = static_cast<uint32_t>(g_operations.size());
  g_operations.push_back({name, stream, number});
  g_after = after;
}

void end_operation() {
  g_operation = 0;
}

void begin_block(size_t threads) {
  if (!watch::on()) return;
  g_barriers = 0;
  g_warps.resize((threads + 31) / 32);
  for (Warp& w : g_warps) {
    std::memset(w.known, 0, sizeof w.known);
    for (int l = 0; l < 32; ++l) w.known[l][l] = 1;
  }
}

void block_barrier() {
  ++g_barriers;
}

// All lanes learn what any of them knows, and begin something new.
void warp_sync(int warp, uint32_t lanes) {
  if (!watch::on()) return;
  auto& known = g_warps[static_cast<size_t>(warp)].known;
  uint32_t all[32] = {};
  for (uint32_t rest = lanes; rest; rest &= rest - 1)
    for (int k = 0; k < 32; ++k) all[k] = std::max(all[k], known[std::countr_zero(rest)][k]);
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    std::memcpy(known[l], all, sizeof all);
    ++known[l][l];
  }
}

void check_shared(const void* p, size_t bytes, Access access, const void* code) {
  if (!g_checking) return;
  static Shadow shadow(shared_memory::kArena);
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(p) - shared_memory::arena().begin);
  check(shadow, offset, bytes, record(access, code), Memory::shared);
}

void check_global(Range allocation, const void* p, size_t bytes, Access access, const void* code) {
  if (!g_checking) return;
  if (g_last != allocation.begin) {
    const auto size = static_cast<size_t>(allocation.end - allocation.begin);
    g_last_shadow = &g_shadows.try_emplace(allocation.begin, size).first->second;
    g_last = allocation.begin;
  }
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(p) - allocation.begin);
  check(*g_last_shadow, offset, bytes, record(access, code), Memory::global);
}

void forget(Range allocation) {
  g_last = nullptr;
  g_shadows.erase(allocation.begin);
}

}  // namespace simt::race
