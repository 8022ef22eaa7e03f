#pragma once
// Many segments of different lengths in one launch: a table in device memory says which blocks of the grid
// belong to which segment.

#include <span>
#include <vector>

#include "kernels/grid.cuh"
#include "kernels/scratch.cuh"

namespace moe::kernels::cuda {

inline constexpr int kSegmentThreads = 256;
inline constexpr int64_t kSegmentBlock = 16 * kSegmentThreads;  // elements a block

template <class S>
struct TableEntry {
  S segment;
  int64_t first_block;
};

// On the device: `count` entries, in the order of their blocks.
template <class S>
struct SegmentTable {
  const TableEntry<S>* entries;
  int64_t count;
  unsigned blocks;  // of the grid

  template <class Result>
  Result* results() const {
    return reinterpret_cast<Result*>(const_cast<TableEntry<S>*>(entries) + count);
  }
};

// Copies the segments (anything with a length n) to the device, into the stream's scratch memory. Behind them
// lies room for one Result for each block and one for all, at results().
template <class S, class Result = char>
SegmentTable<S> upload_segments(std::span<const S> segments, Stream stream) {
  thread_local std::vector<TableEntry<S>> host;
  host.clear();
  int64_t blocks = 0;
  for (const S& s : segments) {
    if (s.n == 0) continue;
    host.push_back({s, blocks});
    blocks += (s.n + kSegmentBlock - 1) / kSegmentBlock;
  }
  const int64_t bytes = static_cast<int64_t>(host.size() * sizeof(host[0]));
  auto* const memory = scratch<char>(bytes + (blocks + 1) * static_cast<int64_t>(sizeof(Result)), stream);
  if (bytes) moe::cuda::copy_to_device(memory, host.data(), bytes, stream);
  return {reinterpret_cast<const TableEntry<S>*>(memory), static_cast<int64_t>(host.size()),
          static_cast<unsigned>(blocks)};
}

// Elements [begin, end) of a segment.
template <class S>
struct SegmentBlock {
  const S& segment;
  int64_t begin, end;
};

// This block's part: the last entry that begins at or before it, by bisection.
template <class S>
__device__ SegmentBlock<S> segment_block(const SegmentTable<S>& table) {
  int64_t low = 0, high = table.count;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (table.entries[middle].first_block <= blockIdx.x ? low : high) = middle;
  }
  const TableEntry<S>& entry = table.entries[low];
  const int64_t begin = (blockIdx.x - entry.first_block) * kSegmentBlock, end = begin + kSegmentBlock;
  return {entry.segment, begin, end < entry.segment.n ? end : entry.segment.n};
}

}  // namespace moe::kernels::cuda
