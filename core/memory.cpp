#include "core/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>

#include "core/control_group.h"

namespace moe {
namespace {

int64_t system_available() {
  std::ifstream meminfo("/proc/meminfo");
  std::string key, unit;
  int64_t kib = 0;
  while (meminfo >> key >> kib) {
    std::getline(meminfo, unit);
    if (key == "MemAvailable:") return kib * 1024;
  }
  return std::numeric_limits<int64_t>::max();
}

// "max", or a file that is not there, is no limit.
int64_t read_limit(const std::filesystem::path& path) {
  std::ifstream file(path);
  int64_t limit = 0;
  return file >> limit ? limit : std::numeric_limits<int64_t>::max();
}

}  // namespace

int64_t available_memory() {
  int64_t bytes = system_available();
  for (const auto& folder : control_group_folders("memory"))
    bytes =
        std::min({bytes, read_limit(folder / "memory.max"), read_limit(folder / "memory.limit_in_bytes")});
  return bytes;
}

std::string format_bytes(double bytes) {
  const char* unit = "bytes";
  for (const char* larger : {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}) {
    if (bytes < 1024) break;
    bytes /= 1024;
    unit = larger;
  }
  return unit[0] == 'b' ? fmt::format("{:.0f} bytes", bytes) : fmt::format("{:.1f} {}", bytes, unit);
}

}  // namespace moe
