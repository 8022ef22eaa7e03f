#include "traffic.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "block.h"
#include "counters.h"

namespace simt::traffic {
namespace {

constexpr uintptr_t kSector = 32, kBank = 4, kBanks = 32;

struct LaneAccess {
  int lane;
  uintptr_t address;
  size_t bytes;
};
using Key = std::tuple<const void*, int, uint32_t>;  // instruction, warp, how many times before
using Accesses = std::map<Key, std::vector<LaneAccess>>;

bool g_counting = false;
Accesses g_global, g_shared;
std::unordered_map<const void*, std::array<uint32_t, 1024>> g_times;  // instruction -> of each thread

void note(Accesses& accesses, const void* p, size_t bytes, const void* code) {
  const int thread = Block::current()->thread();
  const uint32_t times = g_times[code][static_cast<size_t>(thread)]++;
  accesses[{code, thread / 32, times}].push_back({thread % 32, reinterpret_cast<uintptr_t>(p), bytes});
}

void count_sectors(const std::vector<LaneAccess>& lanes) {
  std::set<uintptr_t> sectors, bytes;
  for (const LaneAccess& a : lanes) {
    for (uintptr_t s = a.address / kSector; s <= (a.address + a.bytes - 1) / kSector; ++s) sectors.insert(s);
    for (size_t i = 0; i < a.bytes; ++i) bytes.insert(a.address + i);
  }
  counters().sectors += sectors.size();
  counters().least_sectors += (bytes.size() + kSector - 1) / kSector;
}

// Accesses of 8 and 16 bytes are served for 16 and 8 lanes at a time. A pass gives one word of each bank.
void count_passes(const std::vector<LaneAccess>& lanes) {
  const size_t widest = std::ranges::max(lanes, {}, &LaneAccess::bytes).bytes;
  const int together = widest <= 4 ? 32 : static_cast<int>(128 / widest);
  for (int first = 0; first < 32; first += together) {
    std::array<std::set<uintptr_t>, kBanks> words;
    for (const LaneAccess& a : lanes)
      if (a.lane >= first && a.lane < first + together)
        for (uintptr_t w = a.address / kBank; w <= (a.address + a.bytes - 1) / kBank; ++w)
          words[w % kBanks].insert(w);
    const size_t passes = std::ranges::max_element(words, {}, &std::set<uintptr_t>::size)->size();
    if (passes > 1) counters().bank_conflicts += passes - 1;
  }
  ++counters().shared_accesses;
}

}  // namespace

void count(bool on) {
  g_counting = on;
}

void global(const void* p, size_t bytes, watch::Access access, const void* code) {
  if (!g_counting) return;
  if (access != watch::Access::write) counters().bytes_loaded += bytes;
  if (access != watch::Access::read) counters().bytes_stored += bytes;
  note(g_global, p, bytes, code);
}

void shared(const void* p, size_t bytes, const void* code) {
  if (g_counting) note(g_shared, p, bytes, code);
}

void end_block() {
  if (!g_counting) return;
  for (const auto& [key, lanes] : g_global) count_sectors(lanes);
  for (const auto& [key, lanes] : g_shared) count_passes(lanes);
  g_global.clear();
  g_shared.clear();
  g_times.clear();
}

}  // namespace simt::traffic
