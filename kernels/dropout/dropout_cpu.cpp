// A task owns a range of the elements of the output, and draws for them in pieces that stay in cache.

#include <algorithm>

#include "core/parallel.h"
#include "kernels/dropout/dropout.h"
#include "kernels/random.h"

namespace moe::kernels::cpu {
namespace {

constexpr int64_t kGrain = 8192, kPiece = 512;  // elements a task, elements at once

// body(begin, count, draws) for pieces that together are all elements.
template <class Body>
void for_each_piece(int64_t n, const RngAddress& rng, Body body) {
  parallel_ranges(n, kGrain, [&](int64_t begin, int64_t end) {
    uint32_t memory[kPiece + kDrawSlack];
    for (; begin < end; begin += kPiece) {
      const int64_t count = std::min(kPiece, end - begin);
      body(begin, count, random_fill(rng, static_cast<uint64_t>(begin), count, memory));
    }
  });
}

}  // namespace

template <class T>
void dropout_forward(int64_t n, DropRule rule, const RngAddress& rng, const T* x, T* y) {
  for_each_piece(n, rng, [=](int64_t begin, int64_t count, const uint32_t* draws) {
    const T* const from = x + begin;
    T* const to = y + begin;
    each_kept<T>(
        count, rule, draws, [=](int64_t i) { return from[i]; }, [=](int64_t i, T v) { to[i] = v; });
  });
}

template <class T>
void dropout_backward(int64_t n, DropRule rule, const RngAddress& rng, const T* dy, T* dx) {
  if (!dx) return;
  for_each_piece(n, rng, [=](int64_t begin, int64_t count, const uint32_t* draws) {
    const T* const from = dy + begin;
    T* const to = dx + begin;
    each_kept<T>(
        count, rule, draws, [=](int64_t i) { return from[i]; }, [=](int64_t i, T v) { to[i] += v; });
  });
}

template void dropout_forward(int64_t, DropRule, const RngAddress&, const float*, float*);
template void dropout_forward(int64_t, DropRule, const RngAddress&, const double*, double*);
template void dropout_backward(int64_t, DropRule, const RngAddress&, const float*, float*);
template void dropout_backward(int64_t, DropRule, const RngAddress&, const double*, double*);

}  // namespace moe::kernels::cpu
