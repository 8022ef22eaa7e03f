#pragma once
// Sums over many items that do not depend on the number of threads.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "core/parallel.h"

namespace moe::kernels::cpu {
namespace detail {

inline std::vector<double>& memory_of_block_sums() {
  thread_local std::vector<double> memory;
  return memory;
}

}  // namespace detail

// body(begin, end, double* sums) adds what the items [begin, end) contribute to `width` sums, which start at
// zero; each block of `grain` items has its own, and they are added up in the order of the blocks.
// The result is valid until this thread's next call.
template <class Body>
std::span<const double> block_sums(int64_t items, int64_t grain, int64_t width, Body&& body) {
  const int64_t blocks = std::max<int64_t>(1, (items + grain - 1) / grain);
  std::vector<double>& memory = detail::memory_of_block_sums();
  memory.assign(static_cast<size_t>(blocks * width), 0.0);
  double* sums = memory.data();
  parallel_ranges(items, grain,
                  [&](int64_t begin, int64_t end) { body(begin, end, sums + begin / grain * width); });
  for (int64_t b = 1; b < blocks; ++b)
    for (int64_t i = 0; i < width; ++i) sums[i] += sums[b * width + i];
  return {sums, static_cast<size_t>(width)};
}

}  // namespace moe::kernels::cpu
