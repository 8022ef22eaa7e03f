#include "fault.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "block.h"

namespace simt {
namespace {

constexpr size_t kMost = 64;

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

void report(FaultKind kind, const std::string& message) {
  std::vector<Fault>& list = faults();
  if (list.size() >= kMost) return;
  const std::string place = Block::place();
  // The same fault in another thread is no news.
  const auto known = [&](const Fault& f) { return f.kind == kind && f.message.ends_with(message); };
  if (std::ranges::none_of(list, known))
    list.push_back({kind, place.empty() ? message : place + ": " + message});
}

std::vector<Fault> take_faults() {
  return std::exchange(faults(), {});
}

}  // namespace simt
