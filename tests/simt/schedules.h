#pragma once
// What must hold in whatever order threads and blocks run.

#include <cstdint>
#include <tuple>

#include "tests/catch.h"
#include "tests/simt/executor/schedule.h"

namespace moe::test {

// check() under each schedule, with so many seeds where there are any.
template <class Check>
void under_all_schedules(uint64_t seeds, Check check) {
  using simt::Schedule;
  for (const auto& [schedule, name, times] : {std::tuple{Schedule::forward, "forward", uint64_t{1}},
                                              {Schedule::reverse, "reverse", 1},
                                              {Schedule::random, "random", seeds},
                                              {Schedule::warp, "warp", seeds}})
    for (uint64_t seed = 1; seed <= times; ++seed) {
      simt::options().schedule = schedule;
      simt::options().seed = seed;
      INFO("schedule " << name << ", seed " << seed);
      check();
    }
  simt::options() = {};
}

}  // namespace moe::test
