#pragma once
// Kernels over the pieces of a table, see kernels/segments.h: a block owns kSegmentBlock elements of a piece.

#include "kernels/grid.cuh"
#include "kernels/segments.h"

namespace moe::kernels::cuda {

inline constexpr int kSegmentThreads = 256;
static_assert(kSegmentBlock % (4 * kSegmentThreads) == 0);

// Elements [begin, end) of piece `index`.
template <class S>
struct SegmentBlock {
  const S& segment;
  int64_t index, begin, end;
};

// This block's part: the last entry that begins at or before it, by bisection. Pieces without elements have
// no block, and the next one begins where they do.
template <class S>
__device__ SegmentBlock<S> segment_block(const SegmentTable<S>& table) {
  int64_t low = 0, high = table.count;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (table.entries[middle].first_block <= blockIdx.x ? low : high) = middle;
  }
  const TableEntry<S>& entry = table.entries[low];
  const int64_t begin = (blockIdx.x - entry.first_block) * kSegmentBlock, end = begin + kSegmentBlock;
  return {entry.segment, low, begin, end < entry.segment.n ? end : entry.segment.n};
}

}  // namespace moe::kernels::cuda
