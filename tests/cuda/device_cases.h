#pragma once
// The cases of all operations on Device::cuda.

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "tests/catch.h"
#include "tests/cuda/device_test.h"
#include "tests/op_run.h"

namespace moe::test {

// The name of the one operation whose cases run, or "" for all.
inline std::string& chosen_op() {
  static std::string name;
  return name;
}

// Takes `--op NAME` out of a command line.
inline void take_op(std::vector<char*>& args) {
  const auto at = std::ranges::find(args, std::string_view("--op"));
  if (args.end() - at < 2) return;
  chosen_op() = at[1];
  args.erase(at, at + 2);
}

inline Outcome<float> run_on_cuda(const OpCase& c) {
  return run_case<float>(c, {.device = Device::cuda});
}

template <class Check>
void for_each_case(Check check) {
  for (const OpCase& c : op_cases()) {
    if (!chosen_op().empty() && c.op != chosen_op()) continue;
    DYNAMIC_SECTION(c.name()) {
      check(c);
    }
  }
}

}  // namespace moe::test
