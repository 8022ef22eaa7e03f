// Warp collectives: lanes of one warp wait until all that are named in the mask have come, then exchange
// values.
//
// A lane that has left the kernel is not waited for, as on a GPU; reading its value is a fault (warp.h).
// Lanes that come with another mask, or into another collective, wait for their own group: on a GPU as here,
// each group must name itself.

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "block.h"
#include "code_place.h"
#include "fault.h"
#include "race.h"
#include "watch.h"

namespace simt {
namespace {

// The compiler may copy an instruction, so that other addresses alone tell nothing.
bool same_place(const void* a, const void* b) {
  return a == b || calls_of(a) == calls_of(b);
}

}  // namespace

void Block::collective(const Collective& what, uint32_t mask, void* slot, const Location& location) {
  const watch::Executor executor;
  const int warp = running_ / 32;
  const uint32_t self = 1u << (running_ % 32);
  if (!(mask & self)) {
    report(FaultKind::collective, fmt::format("{} at line {}: the lane is not in its own mask {:08x}",
                                              what.name, location.line(), mask));
    mask |= self;
  }
  Lane& lane = lanes_[static_cast<size_t>(running_)];
  lane.state = State::in_collective;
  lane.collective = what;
  lane.mask = mask;
  lane.slot = slot;
  lane.location = location;
  warps_[static_cast<size_t>(warp)].waiting |= self;
  complete_collective(warp, mask);
  wait();
}

// Ends the collective of this mask if all its lanes wait in it.
void Block::complete_collective(int warp, uint32_t mask) {
  Warp& w = warps_[static_cast<size_t>(warp)];
  const uint32_t lanes = mask & w.live;
  if (lanes == 0 || (lanes & ~w.waiting)) return;
  Lane* const base = &lanes_[32 * static_cast<size_t>(warp)];
  const Lane& first = base[std::countr_zero(lanes)];
  void* slots[32] = {};
  bool together = true;
  const void* elsewhere = nullptr;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    if (base[l].mask != mask) return;
    together &= base[l].collective.exchange == first.collective.exchange &&
                std::strcmp(base[l].collective.name, first.collective.name) == 0;
    if (!same_place(base[l].collective.code, first.collective.code)) elsewhere = base[l].collective.code;
    slots[l] = base[l].slot;
  }
  if (together) {
    if (elsewhere)
      report(FaultKind::collective,
             fmt::format("{} must be reached by all lanes at one place, not at {} and {}",
                         first.collective.name, calls_of(first.collective.code), calls_of(elsewhere)));
    first.collective.exchange(slots);
    if (first.collective.orders_memory) race::warp_sync(warp, lanes);
  } else {
    report(FaultKind::collective,
           fmt::format("lanes of mask {:08x} are in different collectives, {} at line {} and others", mask,
                       first.collective.name, first.location.line()));
  }
  w.waiting &= ~lanes;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) wake(32 * warp + std::countr_zero(rest));
}

}  // namespace simt
