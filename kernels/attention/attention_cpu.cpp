// A task owns one head of one sequence: its columns of y, of dqkv and of the cache's new rows, and its lse.
// It goes through the queries kNativeLanes at a time, one to a lane: what is done for a query and a key is
// done for all of them at once, and softmax never leaves its lane. Keys and values are read where they lie.
// Scratch: O(T (kNativeLanes + D)) a thread.

#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/tiles_cpu.h"
#include "kernels/random.h"
#include "kernels/scratch.h"
#include "kernels/transpose.h"

namespace moe::kernels::cpu {
namespace {

// A head's place in memory.
struct Head {
  Head(const AttentionShape& shape, int64_t task)
      : s(shape),
        b(task / s.heads),
        h(task % s.heads),
        width(s.heads * s.dim),
        positions(s.past + s.tokens),
        wide(round_up(s.dim, kNativeLanes)) {}

  // Where queries (part 0), keys (1) or values (2) of row `row` of a [.., 3C] array begin.
  int64_t at(int64_t row, int part) const { return row * stride() + part * width + h * s.dim; }
  int64_t stride() const { return 3 * width; }

  const AttentionShape& s;
  const int64_t b, h;
  const int64_t width;      // C
  const int64_t positions;  // T
  const int64_t wide;       // D in whole vectors
};

// The queries at positions first .. first + count - 1, which see `keys` keys together.
struct QueryBlock {
  QueryBlock(const Head& head, int64_t position)
      : first(position), count(std::min(kNativeLanes, head.positions - position)), keys(first + count) {}

  // x where a lane's query sees key j, else `other`.
  template <class T>
  NativeVec<T> seen(int64_t j, NativeVec<T> x, T other) const {
    if (j <= first) return x;
    return lanes_from<T>(j - first) ? x : broadcast_native(other);
  }

  int64_t first, count, keys;
};

// body(j, keep) for the keys of a block; keep(x) is x where the rule keeps a query's key j, else 0.
template <class T, class Body>
void for_each_key(const Head& head, const QueryBlock& block, Body body) {
  const AttentionShape& s = head.s;
  if (!s.drop.drops()) {
    for (int64_t j = 0; j < block.keys; ++j) body(j, [](NativeVec<T> x) { return x; });
    return;
  }
  const int64_t row = (head.b * s.heads + head.h) * head.positions + block.first;
  DrawColumns draws(s.rng, static_cast<uint64_t>(row * head.positions),
                    static_cast<uint64_t>(head.positions));
  for (int64_t j = 0; j < block.keys; j += kDrawColumns) {
    RowDraws column[kDrawColumns];
    draws.next(column);
    for (int64_t c = 0; c < std::min<int64_t>(kDrawColumns, block.keys - j); ++c) {
      using Mask = decltype(NativeVec<T>{} < NativeVec<T>{});
      const Mask kept = __builtin_convertvector(column[c] >= s.drop.threshold, Mask);
      body(j + c, [kept](NativeVec<T> x) { return kept ? x : NativeVec<T>{}; });
    }
  }
}

// A vector for each lane: kNativeLanes columns of as many rows.
template <class T>
struct Square {
  NativeVec<T> row[kNativeLanes];

  void transpose() {
    if constexpr (std::is_same_v<T, float>)
      detail::transpose(row);
    else  // more than the registers hold
      for (int64_t i = 0; i < kNativeLanes; ++i)
        for (int64_t j = 0; j < i; ++j) {
          const T x = row[i][j];
          row[i][j] = row[j][i];
          row[j][i] = x;
        }
  }
};

// to [D][lane] = factor * rows [count][D], 0 in the lanes behind them.
template <class T>
void to_lanes(int64_t count, int64_t dim, T factor, const T* rows, int64_t stride, T* to) {
  for (int64_t d = 0; d < dim; d += kNativeLanes) {
    const int64_t columns = std::min(kNativeLanes, dim - d);
    Square<T> square{};
    for (int64_t r = 0; r < count; ++r) square.row[r] = factor * load_native(rows + r * stride + d, columns);
    square.transpose();
    for (int64_t c = 0; c < columns; ++c) store(to + (d + c) * kNativeLanes, square.row[c]);
  }
}

// put(r, d, v, columns) for elements d .. d + columns - 1 of row r < count of factor * from [D][lane].
template <class T, class Put>
void from_lanes(int64_t count, int64_t dim, NativeVec<T> factor, const T* from, Put put) {
  for (int64_t d = 0; d < dim; d += kNativeLanes) {
    const int64_t columns = std::min(kNativeLanes, dim - d);
    Square<T> square{};
    for (int64_t c = 0; c < columns; ++c) square.row[c] = factor * load_native(from + (d + c) * kNativeLanes);
    square.transpose();
    for (int64_t r = 0; r < count; ++r) put(r, d, square.row[r], columns);
  }
}

// to [count][wide] = factor * rows [count][D], 0 behind them.
template <class T>
void to_rows(int64_t count, int64_t dim, int64_t wide, T factor, const T* rows, int64_t stride, T* to) {
  for (int64_t r = 0; r < count; ++r)
    for (int64_t d = 0; d < wide; d += kNativeLanes)
      store(to + r * wide + d, NativeVec<T>(factor * load_native(rows + r * stride + d, dim - d)));
}

// scores [keys][lane] = keys' rows times the block's vectors [D][lane].
template <class T>
void score(const Head& head, const QueryBlock& block, const T* rows, const T* lanes, T* scores) {
  lane_product<T>(block.keys, {.n = head.s.dim,
                               .all = head.s.dim,
                               .a = rows,
                               .row = head.stride(),
                               .step = 1,
                               .b = lanes,
                               .b_stride = kNativeLanes,
                               .c = scores,
                               .c_stride = kNativeLanes});
}

// sums [D][lane] = sum over the keys that a query sees of weight [keys][lane] times the keys' rows.
template <class T>
void weighted_sum(const Head& head, const QueryBlock& block, const T* rows, const T* weight, T* sums) {
  lane_product<T>(head.s.dim, {.n = block.keys,
                               .all = block.first + 1,
                               .a = rows,
                               .row = 1,
                               .step = head.stride(),
                               .b = weight,
                               .b_stride = kNativeLanes,
                               .c = sums,
                               .c_stride = kNativeLanes});
}

// gradient [keys][wide] += sum over the block's queries of weight [keys][lane] times rows [count][wide].
template <class T>
void add_to_keys(const Head& head, const QueryBlock& block, const T* weight, const T* rows, T* gradient) {
  for (int64_t d = 0; d < head.wide; d += kNativeLanes)
    lane_product<T>(block.keys, {.n = block.count,
                                 .all = block.count,
                                 .a = weight,
                                 .row = kNativeLanes,
                                 .step = 1,
                                 .b = rows + d,
                                 .b_stride = head.wide,
                                 .c = gradient + d,
                                 .c_stride = head.wide,
                                 .accumulate = true});
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
  if (cache) append_to_cache(head, qkv, cache);
  const T* past = cache ? cache : qkv;
  const int64_t row0 = head.b * (cache ? s.capacity : s.tokens), first = head.positions - s.queries;
  const T *key = past + head.at(row0, 1), *value = past + head.at(row0, 2);
  T* weight = thread_scratch<T>(kNativeLanes * (head.positions + 2 * s.dim));
  T* query = weight + kNativeLanes * head.positions;
  T* out = query + kNativeLanes * s.dim;

  for (int64_t i = first; i < head.positions; i += kNativeLanes) {
    const QueryBlock block(head, i);
    to_lanes(block.count, s.dim, static_cast<T>(s.scale), qkv + head.at(head.b * s.tokens + i - s.past, 0),
             head.stride(), query);
    score(head, block, key, query, weight);
    constexpr T kNothing = -std::numeric_limits<T>::infinity();
    NativeVec<T> most = broadcast_native(kNothing), total{};
    for (int64_t j = 0; j < block.keys; ++j) {
      const NativeVec<T> x = block.seen(j, load_native(weight + j * kNativeLanes), kNothing);
      store(weight + j * kNativeLanes, x);
      most = x > most ? x : most;
    }
    for_each_key<T>(head, block, [&](int64_t j, auto keep) {
      const NativeVec<T> e = fast_exp(load_native(weight + j * kNativeLanes) - most);
      total += e;
      store(weight + j * kNativeLanes, NativeVec<T>(keep(e)));
    });
    weighted_sum(head, block, value, weight, out);
    T* to = y + (head.b * s.queries + i - first) * head.width + head.h * s.dim;
    from_lanes<T>(block.count, s.dim, static_cast<T>(s.drop.scale) / total, out,
                  [&](int64_t r, int64_t d, NativeVec<T> v, int64_t columns) {
                    store(to + r * head.width + d, v, columns);
                  });
    if (!lse) continue;
    T* to_lse = lse + (head.b * s.heads + head.h) * s.queries + i - first;
    for (int64_t r = 0; r < block.count; ++r) to_lse[r] = most[r] + std::log(total[r]);
  }
}

template <class T>
void head_backward(const Head& head, const T* qkv, const T* lse, const T* dy, Into<T> dqkv) {
  const AttentionShape& s = head.s;
  const int64_t n = head.positions, wide = head.wide, row0 = head.b * n;
  T* dkey = thread_scratch<T>(2 * n * wide + kNativeLanes * (3 * n + 3 * s.dim + 2 * wide));
  T* dvalue = dkey + n * wide;
  T* p = dvalue + n * wide;                 // [keys][lane]: scores before
  T* weight = p + kNativeLanes * n;         // [keys][lane]: w
  T* dscore = weight + kNativeLanes * n;    // [keys][lane]: g, then ds
  T* query = dscore + kNativeLanes * n;     // [D][lane], scaled
  T* dout = query + kNativeLanes * s.dim;   // [D][lane]
  T* dquery = dout + kNativeLanes * s.dim;  // [D][lane]
  T* query_rows = dquery + kNativeLanes * s.dim;
  T* dout_rows = query_rows + kNativeLanes * wide;
  std::fill_n(dkey, 2 * n * wide, T(0));

  const T *key = qkv + head.at(row0, 1), *value = qkv + head.at(row0, 2);
  const T scale = static_cast<T>(s.scale), keep_scale = static_cast<T>(s.drop.scale);
  for (int64_t i = 0; i < n; i += kNativeLanes) {
    const QueryBlock block(head, i);
    const T* q = qkv + head.at(row0 + i, 0);
    const T* dout_from = dy + (row0 + i) * head.width + head.h * s.dim;
    to_lanes(block.count, s.dim, scale, q, head.stride(), query);
    to_rows(block.count, s.dim, wide, scale, q, head.stride(), query_rows);
    to_lanes(block.count, s.dim, T(1), dout_from, head.width, dout);
    to_rows(block.count, s.dim, wide, T(1), dout_from, head.width, dout_rows);
    score(head, block, key, query, p);
    score(head, block, value, dout, dscore);
    NativeVec<T> shift{}, mean{};
    for (int64_t r = 0; r < block.count; ++r) shift[r] = lse[(head.b * s.heads + head.h) * n + i + r];
    for_each_key<T>(head, block, [&](int64_t j, auto keep) {
      const int64_t at = j * kNativeLanes;
      const NativeVec<T> pj = block.seen(j, NativeVec<T>(fast_exp(load_native(p + at) - shift)), T(0));
      const NativeVec<T> g = block.seen(j, NativeVec<T>(keep(load_native(dscore + at) * keep_scale)), T(0));
      mean = fma(pj, g, mean);
      store(p + at, pj);
      store(weight + at, NativeVec<T>(keep(pj * keep_scale)));
      store(dscore + at, g);
    });
    for (int64_t at = 0; at < block.keys * kNativeLanes; at += kNativeLanes)
      store(dscore + at, NativeVec<T>(load_native(p + at) * (load_native(dscore + at) - mean)));
    weighted_sum(head, block, key, dscore, dquery);
    const Into<T> dq = dqkv.from(head.at(row0 + i, 0));
    from_lanes<T>(block.count, s.dim, broadcast_native(scale), dquery,
                  [&](int64_t r, int64_t d, NativeVec<T> v, int64_t columns) {
                    T* const to = dq.to + r * head.stride() + d;
                    store(to, dq.add ? NativeVec<T>(load_native(to, columns) + v) : v, columns);
                  });
    add_to_keys(head, block, weight, dout_rows, dvalue);
    add_to_keys(head, block, dscore, query_rows, dkey);
  }
  for (int64_t i = 0; i < n; ++i) {
    const Into<T> dk = dqkv.from(head.at(row0 + i, 1)), dv = dqkv.from(head.at(row0 + i, 2));
    for (int64_t d = 0; d < s.dim; ++d) dk.put(d, dkey[i * wide + d]);
    for (int64_t d = 0; d < s.dim; ++d) dv.put(d, dvalue[i * wide + d]);
  }
}

}  // namespace

template <class T>
void attention_forward(const AttentionShape& s, const T* qkv, T* cache, T* y, T* lse) {
  parallel_for(s.batch * s.heads, [&](int64_t task) { head_forward(Head(s, task), qkv, cache, y, lse); });
}

template <class T>
void attention_backward(const AttentionShape& s, const T* qkv, const T*, const T* lse, const T* dy,
                        Into<T> dqkv) {
  if (!dqkv) return;
  parallel_for(s.batch * s.heads, [&](int64_t task) { head_backward(Head(s, task), qkv, lse, dy, dqkv); });
}

template void attention_forward(const AttentionShape&, const float*, float*, float*, float*);
template void attention_forward(const AttentionShape&, const double*, double*, double*, double*);
template void attention_backward(const AttentionShape&, const float*, const float*, const float*,
                                 const float*, Into<float>);
template void attention_backward(const AttentionShape&, const double*, const double*, const double*,
                                 const double*, Into<double>);

}  // namespace moe::kernels::cpu
