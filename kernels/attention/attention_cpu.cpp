// A task owns one head of one sequence: its columns of y, of dqkv and of the cache's new rows, and its lse.
// It first lays the head's keys and values out densely, keys with one row per channel, so that the scores of
// neighbouring keys are neighbours; then it goes through the queries kRows at a time. Scratch: O(T D + T) a
// thread.

#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/tiles_cpu.h"
#include "kernels/random.h"
#include "kernels/scratch.h"

namespace moe::kernels::cpu {
namespace {

constexpr int kRows = 4;
// The score of a key that a query does not see: rows are filled up with it to whole vectors.
template <class T>
constexpr T kNothing = -std::numeric_limits<T>::infinity();

// A head's place in memory, and how its dense copies are laid out.
struct Head {
  Head(const AttentionShape& shape, int64_t task)
      : s(shape),
        b(task / s.heads),
        h(task % s.heads),
        width(s.heads * s.dim),
        positions(s.past + s.tokens),
        columns(round_up(positions, kLanes)),
        wide(round_up(s.dim, kLanes)) {}

  // Where queries (part 0), keys (1) or values (2) of row `row` of a [.., 3C] array begin.
  int64_t at(int64_t row, int part) const { return row * stride() + part * width + h * s.dim; }
  int64_t stride() const { return 3 * width; }

  // Calls block<R>(i) for positions i .. i+R-1, until all positions from `first` on are covered.
  template <class Block>
  void for_each_block(int64_t first, Block block) const {
    int64_t i = first;
    for (; i + kRows <= positions; i += kRows) block.template operator()<kRows>(i);
    for (; i < positions; ++i) block.template operator()<1>(i);
  }

  // The draws of the query at position i for the keys up to i. `memory` has room for draws_size() of them.
  const uint32_t* draw(int64_t i, uint32_t* memory) const {
    const int64_t row = (b * s.heads + h) * positions + i;
    return random_fill(s.rng, static_cast<uint64_t>(row * positions), i + 1, memory);
  }
  int64_t draws_size() const { return positions + kDrawSlack; }

  const AttentionShape& s;
  const int64_t b, h;
  const int64_t width;      // C
  const int64_t positions;  // T
  const int64_t columns;    // T in whole vectors
  const int64_t wide;       // D in whole vectors
};

template <class T>
void exp_row(int64_t n, T shift, T* row) {
  for (int64_t j = 0; j < n; j += kLanes) store(row + j, fast_exp(load(row + j) - shift));
}

template <class T>
void drop(int64_t n, DropRule rule, const uint32_t* draws, T factor, T* row) {
  for (int64_t j = 0; j < n; ++j) {
    const T kept = row[j] * factor;
    row[j] = draws[j] >= rule.threshold ? kept : T(0);
  }
}

template <class T>
void append_to_cache(const Head& head, const T* qkv, T* cache) {
  const AttentionShape& s = head.s;
  for (int64_t t = 0; t < s.tokens; ++t)
    for (int part = 0; part < 3; ++part)
      std::copy_n(qkv + head.at(head.b * s.tokens + t, part), s.dim,
                  cache + head.at(head.b * s.capacity + s.past + t, part));
}

template <class T>
void head_forward(const Head& head, const T* qkv, T* cache, T* y, T* lse) {
  const AttentionShape& s = head.s;
  const int64_t columns = head.columns, wide = head.wide, first = head.positions - s.queries;
  T* key = thread_scratch<T>(s.dim * columns + head.positions * wide + kRows * (columns + 2 * wide));
  T* value = key + s.dim * columns;
  T* weight = value + head.positions * wide;
  T* query = weight + kRows * columns;
  T* out = query + kRows * wide;
  uint32_t* draws = thread_scratch<uint32_t>(head.draws_size());

  if (cache) append_to_cache(head, qkv, cache);
  const T* past = cache ? cache : qkv;
  const int64_t row0 = head.b * (cache ? s.capacity : s.tokens);
  pack_columns(head.positions, columns, s.dim, past + head.at(row0, 1), head.stride(), key);
  pack_rows(head.positions, s.dim, wide, T(1), past + head.at(row0, 2), head.stride(), value);

  head.for_each_block(first, [&]<int R>(int64_t i) {
    const T* q = qkv + head.at(head.b * s.tokens + i - s.past, 0);
    pack_rows(R, s.dim, wide, static_cast<T>(s.scale), q, head.stride(), query);
    const int64_t n = round_up(i + R, kLanes);
    row_products<R>(n, s.dim, wide, columns, query, key, weight);
    T inverse[R];
    for (int r = 0; r < R; ++r) {
      T* row = weight + r * columns;
      const int64_t seen = i + r + 1;
      std::fill(row + seen, row + n, kNothing<T>);
      const T most = max_of(row, n);
      exp_row(n, most, row);
      const T total = sum(row, n);
      lse[(head.b * s.heads + head.h) * s.queries + i + r - first] = most + std::log(total);
      inverse[r] = static_cast<T>(s.drop.scale) / total;
      if (s.drop.drops()) drop(seen, s.drop, head.draw(i + r, draws), T(1), row);
    }
    causal_rows<R>(i, wide, columns, weight, value, out);
    T* to = y + (head.b * s.queries + i - first) * head.width + head.h * s.dim;
    for (int r = 0; r < R; ++r)
      for (int64_t d = 0; d < s.dim; ++d) to[r * head.width + d] = out[r * wide + d] * inverse[r];
  });
}

template <class T>
void head_backward(const Head& head, const T* qkv, const T* lse, const T* dy, T* dqkv) {
  const AttentionShape& s = head.s;
  const int64_t n = head.positions, columns = head.columns, wide = head.wide;
  T* key_columns = thread_scratch<T>(2 * s.dim * columns + 3 * n * wide + kRows * (2 * columns + 3 * wide));
  T* value_columns = key_columns + s.dim * columns;
  T* key = value_columns + s.dim * columns;
  T* dkey = key + n * wide;
  T* dvalue = dkey + n * wide;
  T* weight = dvalue + n * wide;         // of the block's rows: p, then w
  T* dscore = weight + kRows * columns;  // g, then ds
  T* query = dscore + kRows * columns;
  T* dout = query + kRows * wide;
  T* dquery = dout + kRows * wide;
  uint32_t* memory = thread_scratch<uint32_t>(head.draws_size());

  const int64_t row0 = head.b * n;
  const T* k = qkv + head.at(row0, 1);
  const T* v = qkv + head.at(row0, 2);
  pack_columns(n, columns, s.dim, k, head.stride(), key_columns);
  pack_columns(n, columns, s.dim, v, head.stride(), value_columns);
  pack_rows(n, s.dim, wide, T(1), k, head.stride(), key);
  std::fill_n(dkey, 2 * n * wide, T(0));

  const T scale = static_cast<T>(s.scale), keep_scale = static_cast<T>(s.drop.scale);
  head.for_each_block(0, [&]<int R>(int64_t i) {
    pack_rows(R, s.dim, wide, scale, qkv + head.at(row0 + i, 0), head.stride(), query);
    pack_rows(R, s.dim, wide, T(1), dy + (row0 + i) * head.width + head.h * s.dim, head.width, dout);
    const int64_t used = round_up(i + R, kLanes);
    row_products<R>(used, s.dim, wide, columns, query, key_columns, weight);
    row_products<R>(used, s.dim, wide, columns, dout, value_columns, dscore);
    for (int r = 0; r < R; ++r) {
      T *w = weight + r * columns, *ds = dscore + r * columns;
      const int64_t seen = i + r + 1;
      std::fill(w + seen, w + used, kNothing<T>);
      std::fill(ds + seen, ds + used, T(0));
      exp_row(used, lse[(head.b * s.heads + head.h) * n + i + r], w);
      const uint32_t* draws = s.drop.drops() ? head.draw(i + r, memory) : nullptr;
      if (draws) drop(seen, s.drop, draws, keep_scale, ds);
      const T mean = dot(w, ds, used);
      for (int64_t j = 0; j < used; ++j) ds[j] = w[j] * (ds[j] - mean);
      if (draws) drop(seen, s.drop, draws, keep_scale, w);
    }
    add_outer_products<R>(i + R, wide, columns, weight, dout, dvalue);
    add_outer_products<R>(i + R, wide, columns, dscore, query, dkey);
    causal_rows<R>(i, wide, columns, dscore, key, dquery);
    T* dq = dqkv + head.at(row0 + i, 0);
    for (int r = 0; r < R; ++r)
      for (int64_t d = 0; d < s.dim; ++d) dq[r * head.stride() + d] += scale * dquery[r * wide + d];
  });
  for (int64_t i = 0; i < n; ++i) {
    T *dk = dqkv + head.at(row0 + i, 1), *dv = dqkv + head.at(row0 + i, 2);
    for (int64_t d = 0; d < s.dim; ++d) dk[d] += dkey[i * wide + d];
    for (int64_t d = 0; d < s.dim; ++d) dv[d] += dvalue[i * wide + d];
  }
}

}  // namespace

template <class T>
void attention_forward(const AttentionShape& s, const T* qkv, T* cache, T* y, T* lse) {
  parallel_for(s.batch * s.heads, [&](int64_t task) { head_forward(Head(s, task), qkv, cache, y, lse); });
}

template <class T>
void attention_backward(const AttentionShape& s, const T* qkv, const T*, const T* lse, const T* dy, T* dqkv) {
  if (!dqkv) return;
  parallel_for(s.batch * s.heads, [&](int64_t task) { head_backward(Head(s, task), qkv, lse, dy, dqkv); });
}

template void attention_forward(const AttentionShape&, const float*, float*, float*, float*);
template void attention_forward(const AttentionShape&, const double*, double*, double*, double*);
template void attention_backward(const AttentionShape&, const float*, const float*, const float*,
                                 const float*, float*);
template void attention_backward(const AttentionShape&, const double*, const double*, const double*,
                                 const double*, double*);

}  // namespace moe::kernels::cpu
