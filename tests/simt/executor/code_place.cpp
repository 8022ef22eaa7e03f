#include "code_place.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

extern "C" const char __executable_start;

namespace simt {
namespace {

// Of the innermost call first; nothing where the sources are not known.
std::vector<std::string> ask_addr2line(ptrdiff_t offset) {
  const std::string command =
      fmt::format("addr2line -i -s -e /proc/{}/exe {:#x} 2> /dev/null", getpid(), offset);
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::array<char, 512> line{};
  std::vector<std::string> places;
  while (pipe && std::fgets(line.data(), line.size(), pipe.get())) {
    const std::string_view place = line.data();
    if (place.starts_with("??")) break;
    places.emplace_back(place.substr(0, place.find_first_of(" \n")));  // without the discriminator
  }
  return places;
}

ptrdiff_t offset_of(const void* code) {
  return static_cast<const char*>(code) - &__executable_start - 1;
}

const std::vector<std::string>& places_of(const void* code) {
  static std::map<const void*, std::vector<std::string>> known;
  const auto [found, is_new] = known.try_emplace(code);
  if (is_new) found->second = ask_addr2line(offset_of(code));
  return found->second;
}

}  // namespace

std::string place_of(const void* code) {
  if (!code) return "a copy";
  const std::vector<std::string>& places = places_of(code);
  return places.empty() ? fmt::format("+{:#x}", offset_of(code)) : places.front();
}

std::string calls_of(const void* code) {
  return fmt::format("{}", fmt::join(places_of(code), " in "));
}

}  // namespace simt
