#include "fault.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "block.h"

namespace simt {
namespace {

constexpr size_t kMost = 64;
uint64_t g_times_taken = 0;

std::vector<Fault>& faults() {
  static std::vector<Fault> list;
  return list;
}

}  // namespace

const char* name_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::race:
      return "race";
    case FaultKind::bounds:
      return "bounds";
    case FaultKind::alignment:
      return "alignment";
    case FaultKind::uninitialised:
      return "uninitialised";
    case FaultKind::collective:
      return "collective";
    case FaultKind::barrier:
      return "barrier";
    case FaultKind::launch:
      return "launch";
    case FaultKind::stream:
      return "stream";
    case FaultKind::capture:
      return "capture";
  }
  return "?";
}

void report(FaultKind kind, const std::string& message, const std::string& key) {
  std::vector<Fault>& list = faults();
  if (list.size() >= kMost) return;
  Fault fault{kind, message, key.empty() ? message : key};
  const auto known = [&](const Fault& f) { return f.kind == kind && f.key == fault.key; };
  if (std::ranges::any_of(list, known)) return;
  if (const std::string place = Block::place(); !place.empty()) fault.message = place + ": " + message;
  list.push_back(std::move(fault));
}

std::vector<Fault> take_faults() {
  ++g_times_taken;
  return std::exchange(faults(), {});
}

bool print_faults() {
  const std::vector<Fault> list = take_faults();
  for (const Fault& f : list) std::fprintf(stderr, "%s: %s\n", name_of(f.kind), f.message.c_str());
  return !list.empty();
}

uint64_t times_taken() {
  return g_times_taken;
}

}  // namespace simt
