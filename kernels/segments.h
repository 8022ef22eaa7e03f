#pragma once
// Many pieces of different lengths for one launch: a table in device memory says which blocks of the grid
// belong to which piece. It is made once, by the host.

#include <cstdint>
#include <span>
#include <vector>

namespace moe::kernels {

inline constexpr int64_t kSegmentBlock = 4096;  // elements a block

template <class S>
struct TableEntry {
  S segment;  // anything with a length n
  int64_t first_block;
};

template <class S>
struct SegmentTable {
  const TableEntry<S>* entries = nullptr;  // entry i: piece i
  int64_t count = 0;
  int64_t blocks = 0;  // of the grid
};

// The entries of a table, in host memory; `blocks` becomes how many blocks there are.
template <class S>
std::vector<TableEntry<S>> table_entries(std::span<const S> segments, int64_t& blocks) {
  std::vector<TableEntry<S>> entries;
  entries.reserve(segments.size());
  blocks = 0;
  for (const S& s : segments) {
    entries.push_back({s, blocks});
    blocks += (s.n + kSegmentBlock - 1) / kSegmentBlock;
  }
  return entries;
}

}  // namespace moe::kernels
