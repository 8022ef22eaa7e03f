#include "core/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <limits>

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
int64_t read_limit(const char* path) {
  std::ifstream file(path);
  int64_t limit = 0;
  return file >> limit ? limit : std::numeric_limits<int64_t>::max();
}

}  // namespace

int64_t available_memory() {
  return std::min({system_available(), read_limit("/sys/fs/cgroup/memory.max"),
                   read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes")});
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
