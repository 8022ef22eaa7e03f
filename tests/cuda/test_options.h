#pragma once
// What the program that runs the tests of this folder wants of them.

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moe::test {

struct TestOptions {
  std::string op;               // of all operations' cases those of this one; "": all
  bool benchmark_cases = true;  // those that are large enough to be timed; small ones launch the same kernels
  int64_t compared_steps = 20;  // of a run that is compared with the CPU's; fewer where each takes a second
};

inline TestOptions& test_options() {
  static TestOptions options;
  return options;
}

// Takes `--op NAME` out of a command line.
inline void take_op(std::vector<char*>& args) {
  const auto at = std::ranges::find(args, std::string_view("--op"));
  if (args.end() - at < 2) return;
  test_options().op = at[1];
  args.erase(at, at + 2);
}

}  // namespace moe::test
