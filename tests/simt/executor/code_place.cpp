#include "code_place.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <map>
#include <memory>

extern "C" const char __executable_start;

namespace simt {
namespace {

std::string ask_addr2line(ptrdiff_t offset) {
  const std::string command =
      fmt::format("addr2line -s -e /proc/{}/exe {:#x} 2> /dev/null", getpid(), offset);
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::array<char, 512> line{};
  if (!pipe || !std::fgets(line.data(), line.size(), pipe.get())) return "";
  std::string place = line.data();
  place = place.substr(0, place.find_first_of(" \n"));  // without the discriminator
  return place.starts_with("??") ? "" : place;
}

}  // namespace

std::string place_of(const void* code) {
  static std::map<const void*, std::string> known;
  if (!code) return "a copy";
  std::string& place = known[code];
  if (place.empty()) {
    const ptrdiff_t offset = static_cast<const char*>(code) - &__executable_start - 1;
    place = ask_addr2line(offset);
    if (place.empty()) place = fmt::format("+{:#x}", offset);
  }
  return place;
}

}  // namespace simt
