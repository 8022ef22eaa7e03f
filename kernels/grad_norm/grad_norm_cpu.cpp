// A task owns one block of one segment and its partial sum.

#include <cmath>

#include "kernels/blocks.h"
#include "kernels/grad_norm/grad_norm.h"
#include "kernels/math.h"

namespace moe::kernels::cpu {
namespace {

template <class T>
double sum_of_squares(const T* g, int64_t n) {
  constexpr int64_t kAhead = 4096;  // the processor itself looks no further than a page
  return detail::reduce<double>(n, [=](Vec<double> s, int64_t i, int64_t count) {
    __builtin_prefetch(g + i + kAhead);
    const auto x = __builtin_convertvector(load(g + i, count, T(0)), Vec<double>);
    return fma(x, x, s);
  });
}

}  // namespace

template <class T>
void grad_norm(const Gradients<T>& gradients, double* norm) {
  const std::span<const GradSegment<T>> segments = gradients.list;
  thread_local std::vector<double> memory;
  const std::span<const Block> blocks = cut_into_blocks(segments);
  memory.resize(blocks.size());
  double* partial = memory.data();
  parallel_for(static_cast<int64_t>(blocks.size()), [&](int64_t task) {
    const Block& b = blocks[static_cast<size_t>(task)];
    partial[task] = sum_of_squares(segments[b.segment].grad + b.begin, b.end - b.begin);
  });
  double sum = gradients.squares;
  for (size_t i = 0; i < blocks.size(); ++i) sum += partial[i];
  *norm = std::sqrt(sum);
}

template void grad_norm(const Gradients<float>&, double*);
template void grad_norm(const Gradients<double>&, double*);

}  // namespace moe::kernels::cpu
