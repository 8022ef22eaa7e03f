#pragma once
// What the cases of routing and dispatch share.

#include <fmt/format.h>

#include <string>

#include "autograd/ops.h"
#include "tests/op_cases.h"

namespace moe::test {

inline constexpr RngAddress kRng{.seed = 11, .step = 3, .stream = 5};

// Tokens, experts, chosen.
struct Routing {
  int64_t N, E, k;
  std::string str() const { return fmt::format("{} tokens, {} of {} experts", N, k, E); }
};

// What the model trains with.
inline constexpr Routing kTypicalRouting{512, 8, 2};

inline size_t at(int64_t i) {
  return static_cast<size_t>(i);
}

// Which experts a token chooses, all different. Some experts are chosen more often, some never.
inline std::vector<int32_t> some_experts(const Routing& r) {
  std::vector<int32_t> expert;
  for (int64_t n = 0; n < r.N; ++n)
    for (int64_t j = 0; j < r.k; ++j) expert.push_back(static_cast<int32_t>((n * n + j) % r.E));
  return expert;
}

// row -> assignment, as dispatch_plan's contract says, the slow way.
inline std::vector<int64_t> plain_assignment(const Routing& r, const std::vector<int32_t>& expert,
                                             int64_t capacity) {
  std::vector<int64_t> assignment;
  for (int64_t e = 0; e < r.E; ++e) {
    int64_t kept = 0;
    for (int64_t a = 0; a < r.N * r.k; ++a)
      if (expert[at(a)] == e && (capacity == kNoCapacity || kept++ < capacity)) assignment.push_back(a);
  }
  assignment.resize(expert.size(), -1);
  return assignment;
}

}  // namespace moe::test
