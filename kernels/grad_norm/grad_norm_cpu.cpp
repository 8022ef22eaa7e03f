// A task owns one block of one segment and its partial sum.

#include <cmath>

#include "kernels/blocks.h"
#include "kernels/grad_norm/grad_norm.h"

namespace moe::kernels::cpu {
namespace {

constexpr int kLanes = 8;

template <class T>
double sum_of_squares(const T* g, int64_t n) {
  double lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lane[l] += static_cast<double>(g[i + l]) * static_cast<double>(g[i + l]);
  for (int l = 0; i < n; ++i, ++l) lane[l] += static_cast<double>(g[i]) * static_cast<double>(g[i]);
  double sum = 0;
  for (const double x : lane) sum += x;
  return sum;
}

}  // namespace

template <class T>
void grad_norm(std::span<const GradSegment<T>> segments, double* norm) {
  thread_local std::vector<double> memory;
  const std::span<const Block> blocks = cut_into_blocks(segments);
  memory.resize(blocks.size());
  double* partial = memory.data();
  parallel_for(static_cast<int64_t>(blocks.size()), [&](int64_t task) {
    const Block& b = blocks[static_cast<size_t>(task)];
    partial[task] = sum_of_squares(segments[b.segment].grad + b.begin, b.end - b.begin);
  });
  double sum = 0;
  for (size_t i = 0; i < blocks.size(); ++i) sum += partial[i];
  *norm = std::sqrt(sum);
}

template void grad_norm(std::span<const GradSegment<float>>, double*);
template void grad_norm(std::span<const GradSegment<double>>, double*);

}  // namespace moe::kernels::cpu
