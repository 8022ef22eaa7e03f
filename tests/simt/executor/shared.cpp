#include "shared.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "block.h"
#include "fault.h"
#include "poison.h"
#include "watch.h"

namespace simt {
namespace {

constexpr size_t kRedZone = 64;

struct Variable {
  const void* identity;
  size_t offset, bytes;
  std::string_view name;
};

alignas(64) std::byte g_arena[shared_memory::kArena];
std::vector<Variable> g_variables;  // the first is the dynamic part
size_t g_used = 0;

// The red zone before variable i, or after the last one.
Range red_zone(size_t i) {
  const size_t begin = i == 0 ? 0 : g_variables[i - 1].offset + g_variables[i - 1].bytes;
  const size_t end = i < g_variables.size() ? g_variables[i].offset : g_used;
  return {g_arena + begin, g_arena + end};
}

void* add_variable(const void* identity, size_t bytes, std::string_view name) {
  const size_t offset = g_used;
  g_used = (offset + bytes + kRedZone + 15) / 16 * 16;
  if (g_used > sizeof g_arena)
    throw std::length_error(fmt::format("shared memory {}: {} bytes", name, bytes));
  g_variables.push_back({identity, offset, bytes, name});
  poison::permit(g_arena + offset, bytes);
  return g_arena + offset;
}

// Real GPUs pack variables without red zones.
void check_size() {
  const Grid& grid = Block::current()->grid();
  size_t bytes = 0;
  for (const Variable& v : g_variables) bytes += (v.bytes + 15) / 16 * 16;
  const size_t is_static = bytes - (g_variables[0].bytes + 15) / 16 * 16;
  const size_t most =
      grid.more_shared ? static_cast<size_t>(options().most_shared_bytes) : shared_memory::kUnasked;
  if (is_static > shared_memory::kUnasked || bytes > most)
    report(FaultKind::launch,
           fmt::format("{} bytes of shared memory, {} of them static, where a block gets {}", bytes,
                       is_static, std::min(most, is_static ? shared_memory::kUnasked : most)));
}

}  // namespace

void* shared_variable(const void* identity, size_t bytes, std::string_view name) {
  const watch::Executor executor;
  for (const Variable& v : g_variables)
    if (v.identity == identity) return g_arena + v.offset;
  void* const memory = add_variable(identity, bytes, name);
  check_size();
  return memory;
}

void* dynamic_shared() {
  const watch::Executor executor;
  return g_arena + g_variables[0].offset;
}

namespace shared_memory {

void begin_block(const Grid& grid) {
  poison::permit(g_arena, sizeof g_arena);
  static bool fresh = true;
  std::memset(g_arena, 0xFF, fresh ? sizeof g_arena : g_used);
  fresh = false;
  poison::forbid(g_arena, sizeof g_arena);
  g_variables.clear();
  g_used = kRedZone;
  add_variable(nullptr, grid.shared_bytes, "dynamic");
}

void end_block() {
  poison::permit(g_arena, g_used);
  for (size_t i = 0; i <= g_variables.size(); ++i) {
    const Range zone = red_zone(i);
    if (std::all_of(zone.begin, zone.end, [](std::byte b) { return b == std::byte{0xFF}; })) continue;
    report(FaultKind::bounds,
           i == 0 ? fmt::format("shared memory was written before {}", g_variables[0].name)
                  : fmt::format("shared memory was written after {}", g_variables[i - 1].name));
  }
}

Range arena() {
  return {g_arena, g_arena + sizeof g_arena};
}

bool allowed(const void* p, size_t bytes) {
  const std::byte* begin = static_cast<const std::byte*>(p);
  return std::ranges::any_of(g_variables, [&](const Variable& v) {
    return begin >= g_arena + v.offset && begin + bytes <= g_arena + v.offset + v.bytes;
  });
}

}  // namespace shared_memory
}  // namespace simt
