// Two passes over the assignments in blocks of a fixed size. The first counts each block's assignments by
// expert; from these the caller's thread computes where each block's run begins within each expert; the
// second places them. A task owns its block's elements of row, and the rows it fills, which no other block
// gets.

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/dispatch_plan/dispatch_plan.h"

namespace moe::kernels::cpu {
namespace {

constexpr int64_t kBlock = 8192;  // assignments a task

}  // namespace

void dispatch_plan(DispatchShape s, const int32_t* expert, int32_t* offsets, int32_t* assignment,
                   int32_t* row, int32_t* count) {
  const int64_t R = s.tokens * s.topk, E = s.experts, blocks = (R + kBlock - 1) / kBlock;
  // next[block][e]: first how many of the block's assignments have expert e, then the position within the
  // expert that the block's next one takes.
  thread_local std::vector<int32_t> memory;
  memory.assign(static_cast<size_t>(blocks * E), 0);
  int32_t* next = memory.data();

  parallel_ranges(R, kBlock, [&](int64_t begin, int64_t end) {
    int32_t* mine = next + begin / kBlock * E;
    for (int64_t a = begin; a < end; ++a) {
      const int32_t e = expert[a];
      require(e >= 0 && e < E, "dispatch_plan: expert of assignment {} must be in [0, {}), got {}", a, E, e);
      ++mine[e];
    }
  });

  offsets[0] = 0;
  for (int64_t e = 0; e < E; ++e) {
    int32_t sum = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      const int32_t here = next[b * E + e];
      next[b * E + e] = sum;
      sum += here;
    }
    count[e] = sum;
    offsets[e + 1] =
        offsets[e] + (s.capacity < 0 ? sum : static_cast<int32_t>(std::min<int64_t>(sum, s.capacity)));
  }

  parallel_ranges(R, kBlock, [&](int64_t begin, int64_t end) {
    int32_t* mine = next + begin / kBlock * E;
    for (int64_t a = begin; a < end; ++a) {
      const int32_t e = expert[a], r = offsets[e] + mine[e]++;
      const bool kept = r < offsets[e + 1];
      row[a] = kept ? r : -1;
      if (kept) assignment[r] = static_cast<int32_t>(a);
    }
  });
  std::fill(assignment + offsets[E], assignment + R, -1);
}

}  // namespace moe::kernels::cpu
