// A task owns one block of one segment; every array is read and written once.

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/adamw/adamw.h"
#include "kernels/blocks.h"

namespace moe::kernels::cpu {
namespace {

// The factors of one segment, in the type it is computed in.
template <class T>
struct Factors {
  Factors(const AdamWOptions& o, int64_t step)
      : scale(static_cast<T>(o.grad_scale)),
        keep(static_cast<T>(1 - o.lr * o.weight_decay)),
        beta1(static_cast<T>(o.beta1)),
        rest1(static_cast<T>(1 - o.beta1)),
        beta2(static_cast<T>(o.beta2)),
        rest2(static_cast<T>(1 - o.beta2)),
        rate(static_cast<T>(o.lr / (1 - std::pow(o.beta1, static_cast<double>(step))))),
        inverse_root(static_cast<T>(1 / std::sqrt(1 - std::pow(o.beta2, static_cast<double>(step))))),
        eps(static_cast<T>(o.eps)) {}
  T scale, keep, beta1, rest1, beta2, rest2, rate, inverse_root, eps;
};

// Four streams at once are more than the processor looks ahead in by itself: each is asked for 1 KiB ahead.
template <class T>
void update(const Factors<T> f, int64_t n, T* __restrict value, const T* __restrict grad, T* __restrict m,
            T* __restrict v) {
  constexpr int64_t line = 64 / sizeof(T), ahead = 16 * line;
  const auto update_one = [=](int64_t i) {
    const T g = f.scale * grad[i];
    m[i] = f.beta1 * m[i] + f.rest1 * g;
    v[i] = f.beta2 * v[i] + f.rest2 * (g * g);
    value[i] = f.keep * value[i] - f.rate * m[i] / (std::sqrt(v[i]) * f.inverse_root + f.eps);
  };
  int64_t i = 0;
  for (; i + line <= n; i += line) {
    __builtin_prefetch(grad + i + ahead);
    for (T* const changed : {value, m, v}) __builtin_prefetch(changed + i + ahead, 1);
#pragma GCC ivdep
    for (int64_t j = 0; j < line; ++j) update_one(i + j);
  }
  for (; i < n; ++i) update_one(i);
}

}  // namespace

template <class T>
void adamw(const AdamWOptions& options, std::span<const AdamWSegment<T>> segments) {
  const std::span<const Block> blocks = cut_into_blocks(segments);
  parallel_for(static_cast<int64_t>(blocks.size()), [&](int64_t task) {
    const Block& b = blocks[static_cast<size_t>(task)];
    const AdamWSegment<T>& s = segments[b.segment];
    update(Factors<T>(options, s.step), b.end - b.begin, s.value + b.begin, s.grad + b.begin, s.m + b.begin,
           s.v + b.begin);
  });
}

template <class T>
void adamw(const AdamWOptions& options, const AdamWPieces<T>& pieces, const StepMemory* memory,
           const int64_t* kept) {
  if (memory->outcome.verdict != Verdict::good) return;
  thread_local std::vector<AdamWSegment<T>> active;
  active.clear();
  for (size_t i = 0; i < pieces.list.size(); ++i) {
    if (pieces.expert[i] >= 0 && kept[pieces.expert[i]] == 0) continue;
    active.push_back(pieces.list[i]);
    active.back().step = ++pieces.steps[i];
  }
  AdamWOptions of_step = options;
  of_step.lr = memory->inputs.learning_rate;
  of_step.grad_scale = memory->outcome.grad_scale;
  adamw(of_step, std::span<const AdamWSegment<T>>(active));
}

template void adamw(const AdamWOptions&, std::span<const AdamWSegment<float>>);
template void adamw(const AdamWOptions&, std::span<const AdamWSegment<double>>);
template void adamw(const AdamWOptions&, const AdamWPieces<float>&, const StepMemory*, const int64_t*);
template void adamw(const AdamWOptions&, const AdamWPieces<double>&, const StepMemory*, const int64_t*);

}  // namespace moe::kernels::cpu
