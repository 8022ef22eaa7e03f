#pragma once
// Many segments of different lengths, cut into blocks of a constant size: one task each, whatever the number
// of threads.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/parallel.h"

namespace moe::kernels::cpu {

inline constexpr int64_t kBlockElements = 16384;

// Elements [begin, end) of segment `segment`.
struct Block {
  size_t segment;
  int64_t begin, end;
};

// The blocks of all segments (anything with a length n), in order. Valid until this thread's next call.
template <class Segment>
std::span<const Block> cut_into_blocks(std::span<const Segment> segments) {
  thread_local std::vector<Block> blocks;
  blocks.clear();
  for (size_t s = 0; s < segments.size(); ++s)
    for (int64_t begin = 0; begin < segments[s].n; begin += kBlockElements)
      blocks.push_back({s, begin, std::min(begin + kBlockElements, segments[s].n)});
  return blocks;
}

}  // namespace moe::kernels::cpu
