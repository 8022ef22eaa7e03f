#pragma once
// Which operation's cases run: --op of run_tests.cpp.

#include <string>

namespace moe::test {

// The name of one operation, or "" for all.
inline std::string& chosen_op() {
  static std::string name;
  return name;
}

}  // namespace moe::test
