// Attention, whole and in pieces, with and without dropout.

#include <fmt/format.h>

#include <cmath>

#include "autograd/ops.h"
#include "tests/op_cases.h"

namespace moe::test {

void add_attention_cases(OpCases& cases);

namespace {

struct Problem {
  int64_t batch, heads, tokens, dim;
  double dropout = 0;

  Shape shape() const { return {batch * tokens, 3 * heads * dim}; }
  AttentionOptions options() const {
    AttentionOptions o;
    o.batch = batch;
    o.heads = heads;
    o.scale = 0.7;
    o.dropout = dropout;
    o.rng = {.seed = 77, .step = 5, .stream = 2};
    return o;
  }
  std::string label() const {
    return fmt::format("B {} heads {} T {} D {} dropout {}", batch, heads, tokens, dim, dropout);
  }
};

template <class T>
std::vector<T> attention_by_the_formula(const Problem& p, const std::vector<T>& qkv) {
  const int64_t width = p.heads * p.dim, length = p.tokens;
  const AttentionOptions o = p.options();
  std::vector<T> y(static_cast<size_t>(p.batch * length * width)), weight(static_cast<size_t>(length));
  for (int64_t b = 0; b < p.batch; ++b)
    for (int64_t h = 0; h < p.heads; ++h)
      for (int64_t i = 0; i < length; ++i) {
        const auto at = [&](int64_t position, int64_t part) {
          return qkv.data() + (b * length + position) * 3 * width + part * width + h * p.dim;
        };
        T most = 0, total = 0;
        for (int64_t j = 0; j <= i; ++j) {
          T score = 0;
          for (int64_t d = 0; d < p.dim; ++d) score += at(i, 0)[d] * at(j, 1)[d];
          weight[static_cast<size_t>(j)] = score * static_cast<T>(o.scale);
          most = j == 0 ? weight[0] : std::max(most, weight[static_cast<size_t>(j)]);
        }
        for (int64_t j = 0; j <= i; ++j)
          total += weight[static_cast<size_t>(j)] = std::exp(weight[static_cast<size_t>(j)] - most);
        for (int64_t j = 0; j <= i; ++j) {
          const auto draw = static_cast<uint64_t>(((b * p.heads + h) * length + i) * length + j);
          if (random_u32(o.rng, draw) < p.dropout * 0x1p32) continue;
          const T w = weight[static_cast<size_t>(j)] / total / static_cast<T>(1 - p.dropout);
          T* out = y.data() + (b * length + i) * width + h * p.dim;
          for (int64_t d = 0; d < p.dim; ++d) out[d] += w * at(j, 2)[d];
        }
      }
  return y;
}

void add_whole(OpCases& cases, const Problem& p, std::optional<Cost> benchmark = {}) {
  cases.push_back(
      {.op = "attention",
       .label = p.label(),
       .inputs = {normal("qkv", p.shape())},
       .build = [=](Tape& tape, Inputs in) { return attention(tape, in[0], p.options()); },
       .reference = [=]<class T>(const Values<T>& in) { return attention_by_the_formula(p, in[0]); },
       .benchmark = benchmark});
}

// The first `past` positions, then the others behind them in a cache; of those only the last `queries`.
void add_pieces(OpCases& cases, const Problem& p, int64_t past, int64_t queries) {
  const int64_t width = p.heads * p.dim;
  cases.push_back({.op = "attention",
                   .label = fmt::format("{} behind {}, last {}", p.label(), past, queries),
                   .inputs = {normal("qkv", p.shape())},
                   .build =
                       [=](Tape& tape, Inputs in) {
                         const Tensor& qkv = in[0].value();
                         AttentionOptions o = p.options();
                         o.cache = tape.empty({1, p.tokens + 3, 3 * width}, qkv.dtype());
                         attention(tape, Var::constant(qkv.rows(0, past), "the past"), o);
                         o.past = past;
                         o.queries = queries;
                         return attention(tape, Var::constant(qkv.rows(past, p.tokens), "the rest"), o);
                       },
                   .reference =
                       [=]<class T>(const Values<T>& in) {
                         const std::vector<T> y = attention_by_the_formula(p, in[0]);
                         return std::vector<T>(y.end() - queries * width, y.end());
                       },
                   .mode = Mode::infer});
}

}  // namespace

void add_attention_cases(OpCases& cases) {
  // Tiles are 4 queries by 8 or 16 keys, and 8 or 16 channels.
  for (const Problem& p :
       {Problem{1, 1, 0, 4}, Problem{1, 1, 1, 1}, Problem{2, 2, 2, 3}, Problem{1, 2, 5, 8},
        Problem{1, 1, 9, 5}, Problem{2, 1, 4, 16}, Problem{1, 1, 19, 2}, Problem{1, 1, 3, 27}})
    add_whole(cases, p);
  for (const Problem& p : {Problem{2, 2, 6, 4, 0.3}, Problem{1, 1, 13, 3, 0.5}}) add_whole(cases, p);
  add_pieces(cases, {1, 2, 11, 5}, 6, 5);
  add_pieces(cases, {1, 2, 11, 5}, 10, 1);
  add_pieces(cases, {1, 1, 9, 8}, 2, 3);

  // Of the T x T products half are behind the diagonal: 2 of them forward (scores, outputs), 5 backward.
  const Problem typical{16, 8, 32, 16, 0.1};
  const double product = 16.0 * 8 * 32 * 33 * 16;
  add_whole(cases, typical, Cost{.flops = 2 * product, .backward_flops = 5 * product});
}

}  // namespace moe::test
