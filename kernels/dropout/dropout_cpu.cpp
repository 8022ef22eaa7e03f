// A task owns a range of the elements of the output, and draws for them in pieces that stay in cache.

#include "core/parallel.h"
#include "kernels/dropout/dropout.h"

namespace moe::kernels::cpu {
namespace {

constexpr int64_t kGrain = 8192, kPiece = 512;  // elements a task, elements at once

// body(i, keep) for each element.
template <class Body>
void for_each_element(int64_t n, DropRule rule, const RngAddress& rng, Body body) {
  parallel_ranges(n, kGrain, [&](int64_t begin, int64_t end) {
    uint32_t draws[kPiece];
    for (; begin < end; begin += kPiece) {
      const int64_t count = std::min(kPiece, end - begin);
      random_fill(rng, static_cast<uint64_t>(begin), count, draws);
      for (int64_t i = 0; i < count; ++i) body(begin + i, draws[i] >= rule.threshold);
    }
  });
}

}  // namespace

template <class T>
void dropout_forward(int64_t n, DropRule rule, const RngAddress& rng, const T* x, T* y) {
  const T scale = static_cast<T>(rule.scale);
  for_each_element(n, rule, rng, [=](int64_t i, bool keep) { y[i] = keep ? x[i] * scale : T(0); });
}

template <class T>
void dropout_backward(int64_t n, DropRule rule, const RngAddress& rng, const T* dy, T* dx) {
  if (!dx) return;
  const T scale = static_cast<T>(rule.scale);
  for_each_element(n, rule, rng, [=](int64_t i, bool keep) { dx[i] += keep ? dy[i] * scale : T(0); });
}

template void dropout_forward(int64_t, DropRule, const RngAddress&, const float*, float*);
template void dropout_forward(int64_t, DropRule, const RngAddress&, const double*, double*);
template void dropout_backward(int64_t, DropRule, const RngAddress&, const float*, float*);
template void dropout_backward(int64_t, DropRule, const RngAddress&, const double*, double*);

}  // namespace moe::kernels::cpu
