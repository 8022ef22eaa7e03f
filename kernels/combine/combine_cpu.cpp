// A task owns some tokens: their rows of y, dx and dgate, and the rows of drows that are theirs. Every row is
// read once; y[n] and dy[n] stay in the first-level cache over the k rows of their token. The operations and
// their order are those of dropout, combine and add one after the other: so are the bits.

#include <algorithm>

#include "core/parallel.h"
#include "kernels/combine/combine.h"
#include "kernels/math.h"
#include "kernels/random.h"
#include "kernels/scratch.h"

namespace moe::kernels::cpu {
namespace {

int64_t tokens_per_task(const CombineShape& s) {
  return items_per_task(4096, s.dim * s.topk);
}

// What dropout makes of a row of `rows`, of a row's gradient.
template <class T>
class RowDropout {
 public:
  explicit RowDropout(const CombineShape& s) : s_(s) {
    if (!s.drop.drops()) return;
    memory_ = thread_scratch<uint32_t>(s.dim + kDrawSlack);
    dropped_ = thread_scratch<T>(s.dim);
  }
  void draw(int32_t row) {
    if (s_.drop.drops()) draws_ = random_fill(s_.rng, static_cast<uint64_t>(row * s_.dim), s_.dim, memory_);
  }
  // Of the row drawn for last; valid until the next call.
  const T* of(const T* row) const {
    if (!s_.drop.drops()) return row;
    T* const dropped = dropped_;
    each_kept<T>(
        s_.dim, s_.drop, draws_, [=](int64_t c) { return row[c]; }, [=](int64_t c, T v) { dropped[c] = v; });
    return dropped;
  }
  // to[c] += g * dy[c], where kept.
  void add_gradient(T g, const T* dy, T* to) const {
    if (s_.drop.drops())
      each_kept<T>(
          s_.dim, s_.drop, draws_, [=](int64_t c) { return g * dy[c]; }, [=](int64_t c, T v) { to[c] += v; });
    else
      for (int64_t c = 0; c < s_.dim; ++c) to[c] += g * dy[c];
  }

 private:
  const CombineShape& s_;
  uint32_t* memory_ = nullptr;
  T* dropped_ = nullptr;
  const uint32_t* draws_ = nullptr;
};

}  // namespace

template <class T>
void combine_forward(const CombineShape& s, const T* x, const T* rows, const T* gate, const int32_t* row,
                     T* y) {
  parallel_ranges(s.tokens, tokens_per_task(s), [&](int64_t begin, int64_t end) {
    RowDropout<T> dropout(s);
    for (int64_t n = begin; n < end; ++n) {
      T* to = y + n * s.dim;
      std::fill_n(to, s.dim, T(0));
      for (int64_t a = n * s.topk; a < (n + 1) * s.topk; ++a) {
        if (row[a] < 0) continue;
        dropout.draw(row[a]);
        const T* from = dropout.of(rows + row[a] * s.dim);
        const T g = gate[a];
        for (int64_t c = 0; c < s.dim; ++c) to[c] += g * from[c];
      }
      const T* residual = x + n * s.dim;
      for (int64_t c = 0; x && c < s.dim; ++c) to[c] = residual[c] + to[c];
    }
  });
}

template <class T>
void combine_backward(const CombineShape& s, const T* rows, const T* gate, const int32_t* row, const T* dy,
                      Into<T> dx, T* drows, T* dgate) {
  parallel_ranges(s.tokens, tokens_per_task(s), [&](int64_t begin, int64_t end) {
    RowDropout<T> dropout(s);
    for (int64_t n = begin; n < end; ++n) {
      const T* from = dy + n * s.dim;
      const Into<T> residual = dx.from(n * s.dim);
      for (int64_t c = 0; dx && c < s.dim; ++c) residual.put(c, from[c]);
      for (int64_t a = n * s.topk; a < (n + 1) * s.topk; ++a) {
        if (row[a] < 0) continue;
        dropout.draw(row[a]);
        if (dgate) dgate[a] += dot(dropout.of(rows + row[a] * s.dim), from, s.dim);
        if (drows) dropout.add_gradient(gate[a], from, drows + row[a] * s.dim);
      }
    }
  });
}

template void combine_forward(const CombineShape&, const float*, const float*, const float*, const int32_t*,
                              float*);
template void combine_forward(const CombineShape&, const double*, const double*, const double*,
                              const int32_t*, double*);
template void combine_backward(const CombineShape&, const float*, const float*, const int32_t*, const float*,
                               Into<float>, float*, float*);
template void combine_backward(const CombineShape&, const double*, const double*, const int32_t*,
                               const double*, Into<double>, double*, double*);

}  // namespace moe::kernels::cpu
