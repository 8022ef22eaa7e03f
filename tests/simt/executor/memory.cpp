#include "memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "fault.h"
#include "poison.h"

namespace simt::device_memory {
namespace {

constexpr size_t kRedZone = 256;  // CUDA's alignment
constexpr std::byte kFill{0xFF};

Pieces& allocations() {
  static Pieces all;
  return all;
}

// The red zone before [begin, end) and the one behind it.
Range before(const std::byte* begin) {
  return {begin - kRedZone, begin};
}
Range behind(const std::byte* begin, size_t bytes) {
  return {begin + bytes, begin + (bytes + 2 * kRedZone - 1) / kRedZone * kRedZone};
}

void check(Range zone, std::string_view kernel, const char* where, size_t bytes) {
  const size_t size = static_cast<size_t>(zone.end - zone.begin);
  poison::permit(zone.begin, size);
  if (!std::all_of(zone.begin, zone.end, [](std::byte b) { return b == kFill; })) {
    report(FaultKind::bounds,
           fmt::format("{}: memory was written {} an allocation of {} bytes", kernel, where, bytes));
    std::memset(const_cast<std::byte*>(zone.begin), 0xFF, size);
  }
  poison::forbid(zone.begin, size);
}

void check(const std::byte* begin, size_t bytes, std::string_view kernel) {
  check(before(begin), kernel, "before", bytes);
  check(behind(begin, bytes), kernel, "behind", bytes);
}

}  // namespace

void* allocate(size_t bytes) {
  const size_t whole = (bytes + 3 * kRedZone - 1) / kRedZone * kRedZone;
  auto* const memory = static_cast<std::byte*>(std::aligned_alloc(kRedZone, whole));
  if (!memory) return nullptr;
  std::memset(memory, 0xFF, whole);
  std::byte* const begin = memory + kRedZone;
  allocations()[begin] = bytes;
  for (const Range zone : {before(begin), behind(begin, bytes)})
    poison::forbid(zone.begin, static_cast<size_t>(zone.end - zone.begin));
  return begin;
}

bool release(void* p) {
  auto* const begin = static_cast<std::byte*>(p);
  const auto found = allocations().find(begin);
  if (found == allocations().end()) return false;
  check(begin, found->second, "cudaFree");
  for (const Range zone : {before(begin), behind(begin, found->second)})
    poison::permit(zone.begin, static_cast<size_t>(zone.end - zone.begin));
  allocations().erase(found);
  std::free(begin - kRedZone);
  return true;
}

Range find(const Pieces& pieces, const void* p) {
  auto* const at = static_cast<const std::byte*>(p);
  auto next = pieces.upper_bound(at);
  if (next == pieces.begin()) return {};
  const auto& [begin, bytes] = *--next;
  return at < begin + bytes ? Range{begin, begin + bytes} : Range{};
}

Range find(const void* p) {
  return find(allocations(), p);
}

void check_red_zones(std::string_view kernel) {
  for (const auto& [begin, bytes] : allocations()) check(begin, bytes, kernel);
}

}  // namespace simt::device_memory
