#include "traffic.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "block.h"
#include "counters.h"

namespace simt::traffic {
namespace {

constexpr uintptr_t kSector = 32, kWord = 4, kBanks = 32;
constexpr size_t kLanes = 32, kWide = 16;  // bytes of an access of 128 bits

struct Access {
  uintptr_t address;
  uint32_t bytes;
  watch::Access kind;
};
// What each thread of the block did at one instruction, in order.
using Threads = std::array<std::vector<Access>, 1024>;
using Accesses = std::unordered_map<const void*, Threads>;

bool g_counting = false;
Accesses g_global, g_shared;
size_t g_threads = 0;  // of the block, up to the last that did anything

// Numbers kept in a fixed array, for sorting: no access of a warp has more.
template <size_t kMost>
class Set {
 public:
  void add(uintptr_t value) { values_[size_++] = value; }
  // How many different ones there are, then sorted.
  size_t unite() {
    std::sort(values_.begin(), values_.begin() + size_);
    size_ = static_cast<size_t>(std::unique(values_.begin(), values_.begin() + size_) - values_.begin());
    return size_;
  }
  const uintptr_t* begin() const { return values_.data(); }
  const uintptr_t* end() const { return values_.data() + size_; }

 private:
  std::array<uintptr_t, kMost> values_;
  size_t size_ = 0;
};

// The n-th access of each lane of a warp at one instruction.
struct WarpAccess {
  std::array<Access, kLanes> access;
  std::array<size_t, kLanes> lane;
  size_t count = 0;
};

// The memory of an allocation, word by word: the last launch, and the last block of all, that read and that
// wrote it.
struct Words {
  explicit Words(size_t n) : read(n), written(n), read_in_block(n), written_in_block(n) {}
  std::vector<uint32_t> read, written, read_in_block, written_in_block;
};
std::map<const std::byte*, Words> g_words;
uint32_t g_launch = 0, g_block = 0;
std::map<std::string, std::map<const void*, Place>> g_all_places;
std::map<const void*, Place>* g_places = nullptr;  // of the kernel that runs
Words* g_last_words = nullptr;
const std::byte* g_last_begin = nullptr;

void touch(std::vector<uint32_t>& last, uint32_t now, size_t offset, size_t bytes, uint64_t& touched) {
  for (size_t w = offset / kWord; w <= (offset + bytes - 1) / kWord; ++w) {
    if (last[w] != now) touched += kWord;
    last[w] = now;
  }
}

void touch(Range allocation, const void* p, size_t bytes, watch::Access access) {
  if (g_last_begin != allocation.begin) {
    const size_t words = static_cast<size_t>(allocation.end - allocation.begin) / kWord + 1;
    g_last_words = &g_words.try_emplace(allocation.begin, words).first->second;
    g_last_begin = allocation.begin;
  }
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(p) - allocation.begin);
  Counters& c = counters();
  if (access != watch::Access::write) {
    touch(g_last_words->read, g_launch, offset, bytes, c.bytes_read_once);
    touch(g_last_words->read_in_block, g_block, offset, bytes, c.bytes_loaded_by_blocks);
  }
  if (access != watch::Access::read) {
    touch(g_last_words->written, g_launch, offset, bytes, c.bytes_written_once);
    touch(g_last_words->written_in_block, g_block, offset, bytes, c.bytes_stored_by_blocks);
  }
}

void note(Accesses& accesses, const void* p, size_t bytes, watch::Access access, const void* code) {
  const auto thread = static_cast<size_t>(Block::current()->thread());
  g_threads = std::max(g_threads, thread + 1);
  std::vector<Access>& all = accesses[code][thread];
  // Whole structures are moved in pieces.
  for (auto at = reinterpret_cast<uintptr_t>(p), end = at + bytes; at < end; at += kWide)
    all.push_back({at, static_cast<uint32_t>(std::min<uintptr_t>(kWide, end - at)), access});
}

// Bytes of whole accesses that no two lanes share, which is all there is to ask memory for.
uint64_t different_bytes(const WarpAccess& warp) {
  std::array<std::pair<uintptr_t, uintptr_t>, kLanes> pieces;
  for (size_t i = 0; i < warp.count; ++i)
    pieces[i] = {warp.access[i].address, warp.access[i].address + warp.access[i].bytes};
  std::sort(pieces.begin(), pieces.begin() + warp.count);
  uint64_t bytes = 0;
  uintptr_t end = 0;
  for (size_t i = 0; i < warp.count; ++i) {
    if (pieces[i].second > end) bytes += pieces[i].second - std::max(end, pieces[i].first);
    end = std::max(end, pieces[i].second);
  }
  return bytes;
}

void count_sectors(const WarpAccess& warp) {
  Set<2 * kLanes> sectors;
  for (size_t i = 0; i < warp.count; ++i) {
    const Access& a = warp.access[i];
    sectors.add(a.address / kSector);
    sectors.add((a.address + a.bytes - 1) / kSector);
  }
  Counters& c = counters();
  const Access& first = warp.access[0];
  const uint64_t bytes = different_bytes(warp);
  c.sectors += sectors.unite();
  c.least_sectors += (bytes + kSector - 1) / kSector;
  if (first.kind != watch::Access::write) c.bytes_loaded_by_warps += bytes;
  if (first.kind != watch::Access::read) c.bytes_stored_by_warps += bytes;
  if (first.bytes == kWide) c.bytes_in_128_bits += bytes * (first.kind == watch::Access::atomic ? 2 : 1);
}

// Accesses of 8 and 16 bytes are served for 16 and 8 lanes at a time. A pass gives one word of each bank.
void count_passes(const WarpAccess& warp) {
  const auto* const end = warp.access.data() + warp.count;
  const size_t widest = std::max_element(warp.access.data(), end, [](const Access& a, const Access& b) {
                          return a.bytes < b.bytes;
                        })->bytes;
  const size_t together = widest <= kWord ? kLanes : 128 / widest;
  for (size_t first = 0; first < kLanes; first += together) {
    Set<2 * kLanes> words;
    for (size_t i = 0; i < warp.count; ++i)
      if (warp.lane[i] >= first && warp.lane[i] < first + together)
        for (uintptr_t w = warp.access[i].address / kWord;
             w <= (warp.access[i].address + warp.access[i].bytes - 1) / kWord; ++w)
          words.add(w);
    words.unite();
    std::array<uint32_t, kBanks> passes{};
    for (const uintptr_t w : words) ++passes[w % kBanks];
    const uint32_t most = *std::max_element(passes.begin(), passes.end());
    if (most > 1) counters().bank_conflicts += most - 1;
  }
  ++counters().shared_accesses;
}

// Puts the lanes' accesses together again, and forgets them.
template <class Count>
void end_block(Accesses& all, Count count) {
  for (auto& [code, threads] : all) {
    const Counters before = counters();
    for (size_t base = 0; base < g_threads; base += kLanes) {
      WarpAccess warp;
      for (size_t n = 0;; ++n) {
        warp.count = 0;
        for (size_t lane = 0; lane < kLanes; ++lane) {
          const std::vector<Access>& of_lane = threads[base + lane];
          if (n >= of_lane.size()) continue;
          warp.access[warp.count] = of_lane[n];
          warp.lane[warp.count++] = lane;
        }
        if (warp.count == 0) break;
        count(warp);
      }
      for (size_t lane = 0; lane < kLanes; ++lane) threads[base + lane].clear();
    }
    const Counters cost = counters() - before;
    if (cost.sectors == cost.least_sectors && cost.bank_conflicts == 0) continue;
    Place& place = (*g_places)[code];
    place.more_sectors += cost.sectors - cost.least_sectors;
    place.bank_conflicts += cost.bank_conflicts;
  }
}

}  // namespace

void count(bool on) {
  g_counting = on;
  if (on) g_all_places.clear();
}

void global(Range allocation, const void* p, size_t bytes, watch::Access access, const void* code) {
  if (!g_counting) return;
  if (access != watch::Access::write) counters().bytes_loaded += bytes;
  if (access != watch::Access::read) counters().bytes_stored += bytes;
  touch(allocation, p, bytes, access);
  note(g_global, p, bytes, access, code);
}

void shared(const void* p, size_t bytes, watch::Access access, const void* code) {
  if (g_counting) note(g_shared, p, bytes, access, code);
}

void end_block() {
  if (!g_counting) return;
  end_block(g_global, count_sectors);
  end_block(g_shared, count_passes);
  g_threads = 0;
  ++g_block;
}

void begin_launch(std::string_view kernel) {
  if (!g_counting) return;
  ++g_launch;
  ++g_block;
  g_places = &g_all_places[std::string(kernel)];
}

const std::map<std::string, std::map<const void*, Place>>& places() {
  return g_all_places;
}

void forget(Range allocation) {
  g_last_begin = nullptr;
  g_words.erase(allocation.begin);
}

}  // namespace simt::traffic
