// What the cases of tests/op_cases/attention.cpp do not say: attention in pieces, causality, memory, bad
// calls.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "autograd/ops.h"
#include "core/parallel.h"
#include "tests/catch.h"
#include "tests/same_bits.h"
#include "tests/worse.h"

namespace moe {
namespace {

using test::same_bits;

struct Problem {
  int64_t batch, heads, tokens, dim;

  int64_t width() const { return heads * dim; }
  AttentionOptions options() const {
    AttentionOptions o;
    o.batch = batch;
    o.heads = heads;
    o.scale = 0.4;
    return o;
  }
};

Tensor random_qkv(const Problem& p) {
  const Tensor t = Tensor::empty({p.batch * p.tokens, 3 * p.width()}, DType::f32);
  uint64_t i = 0;
  for (float& x : t.span<float>()) x = static_cast<float>(random_normal({.seed = 4}, i++));
  return t;
}

std::vector<float> run(const Tensor& qkv, const AttentionOptions& o, Mode mode = Mode::infer) {
  Arena arena(Device::cpu);
  Tape tape(arena, mode);
  const Var y = attention(tape, Var::constant(qkv, "test input"), o);
  const auto s = y.value().span<float>();
  return {s.begin(), s.end()};
}

// Rows [begin, end) of every sequence.
Tensor positions(const Tensor& qkv, const Problem& p, int64_t begin, int64_t end) {
  const Tensor part = Tensor::empty({p.batch * (end - begin), 3 * p.width()}, DType::f32);
  for (int64_t b = 0; b < p.batch; ++b)
    part.rows(b * (end - begin), (b + 1) * (end - begin))
        .copy_from(qkv.rows(b * p.tokens + begin, b * p.tokens + end));
  return part;
}

}  // namespace

TEST_CASE("attention in pieces behind a cache has the bits of attention in one pass", "[attention]") {
  for (const Problem& p : {Problem{2, 3, 37, 5}, Problem{1, 2, 33, 16}, Problem{1, 1, 20, 40}}) {
    const Tensor qkv = random_qkv(p);
    const std::vector<float> whole = run(qkv, p.options());
    for (const int64_t piece : {1, 3, 4, 7, 19}) {
      AttentionOptions o = p.options();
      o.cache = Tensor::empty({p.batch, p.tokens + 2, 3 * p.width()}, DType::f32);
      for (; o.past < p.tokens; o.past += piece) {
        const int64_t length = std::min(piece, p.tokens - o.past);
        const std::vector<float> y = run(positions(qkv, p, o.past, o.past + length), o);
        bool same = true;
        for (int64_t b = 0; b < p.batch; ++b)
          same = same && same_bits(y.data() + b * length * p.width(),
                                   whole.data() + (b * p.tokens + o.past) * p.width(), length * p.width());
        INFO("D " << p.dim << ", pieces of " << piece << " at " << o.past);
        REQUIRE(same);
      }
    }
  }
}

TEST_CASE("attention for the last queries alone has their bits of the whole", "[attention]") {
  const Problem p{2, 2, 21, 6};
  const Tensor qkv = random_qkv(p);
  const std::vector<float> whole = run(qkv, p.options());
  for (const int64_t queries : {1, 2, 6, 21}) {
    AttentionOptions o = p.options();
    o.queries = queries;
    const std::vector<float> y = run(qkv, o);
    REQUIRE(static_cast<int64_t>(y.size()) == p.batch * queries * p.width());
    for (int64_t b = 0; b < p.batch; ++b)
      CHECK(same_bits(y.data() + b * queries * p.width(),
                      whole.data() + ((b + 1) * p.tokens - queries) * p.width(), queries * p.width()));
  }
}

TEST_CASE("attention: a later token changes no bit of an earlier output", "[attention]") {
  const Problem p{1, 2, 30, 9};
  const Tensor qkv = random_qkv(p);
  const std::vector<float> before = run(qkv, p.options());
  for (const int64_t changed : {1, 2, 3, 7, 8, 17, 29})
    for (const float value : {1e20f, std::numeric_limits<float>::quiet_NaN()}) {
      const Tensor other = Tensor::empty(qkv.shape(), DType::f32);
      other.copy_from(qkv);
      for (float& x : other.rows(changed, changed + 1).span<float>()) x = value;
      const std::vector<float> after = run(other, p.options());
      INFO("token " << changed << " set to " << value);
      CHECK(same_bits(before.data(), after.data(), changed * p.width()));
      CHECK_FALSE(
          same_bits(before.data() + changed * p.width(), after.data() + changed * p.width(), p.width()));
    }
}

TEST_CASE("attention: a sequence does not see the others of its batch", "[attention]") {
  const Problem p{3, 2, 11, 4};
  const Tensor qkv = random_qkv(p);
  const std::vector<float> together = run(qkv, p.options());
  AttentionOptions alone = p.options();
  alone.batch = 1;
  for (int64_t b = 0; b < p.batch; ++b) {
    const std::vector<float> y = run(qkv.rows(b * p.tokens, (b + 1) * p.tokens), alone);
    CHECK(same_bits(y.data(), together.data() + b * p.tokens * p.width(), p.tokens * p.width()));
  }
}

TEST_CASE("attention with queries of zero returns the running mean of the values", "[attention]") {
  const Problem p{1, 2, 1500, 3};
  const Tensor qkv = random_qkv(p);
  const auto x = qkv.span<float>();
  const int64_t stride = 3 * p.width();
  for (int64_t t = 0; t < p.tokens; ++t) std::fill_n(x.begin() + t * stride, p.width(), 0.0f);
  const std::vector<float> y = run(qkv, p.options());
  std::vector<double> total(static_cast<size_t>(p.width()));
  double worst = 0;
  for (int64_t t = 0; t < p.tokens; ++t)
    for (int64_t c = 0; c < p.width(); ++c) {
      double& sum = total[static_cast<size_t>(c)];
      sum += static_cast<double>(x[static_cast<size_t>(t * stride + 2 * p.width() + c)]);
      worst = test::worse(worst, std::abs(static_cast<double>(y[static_cast<size_t>(t * p.width() + c)]) -
                                          sum / static_cast<double>(t + 1)));
    }
  CHECK(worst < 1e-5);
}

TEST_CASE("attention gives the same bits on any number of threads", "[attention]") {
  const Problem p{3, 5, 26, 7};
  const Tensor qkv = random_qkv(p);
  AttentionOptions o = p.options();
  o.dropout = 0.2;
  o.rng = {.seed = 9, .step = 1, .stream = 4};
  const auto gradient = [&] {
    Arena arena(Device::cpu);
    Tape tape(arena, Mode::train);
    const Parameter x{"qkv", qkv, Tensor::zeros(qkv.shape(), DType::f32)};
    tape.backward(attention(tape, Var::parameter(x), o));
    const auto s = x.grad.span<float>();
    return std::vector<float>(s.begin(), s.end());
  };
  set_threads(1);
  const std::vector<float> y = run(qkv, o, Mode::train), dx = gradient();
  for (const int threads : {2, 3}) {
    set_threads(threads);
    CHECK(same_bits(run(qkv, o, Mode::train), y));
    CHECK(same_bits(gradient(), dx));
  }
  set_threads(0);
}

TEST_CASE("attention drops weights in training and not in inference", "[attention]") {
  const Problem p{1, 2, 12, 4};
  const Tensor qkv = random_qkv(p);
  AttentionOptions o = p.options();
  const std::vector<float> plain = run(qkv, o);
  o.dropout = 0.5;
  CHECK(same_bits(run(qkv, o, Mode::infer), plain));
  CHECK_FALSE(same_bits(run(qkv, o, Mode::train), plain));
}

TEST_CASE("attention keeps its output and one number per row and head", "[attention]") {
  const Problem p{2, 4, 2048, 16};
  Arena arena(Device::meta);
  Tape tape(arena, Mode::train);
  const Parameter x = Parameter::create("qkv", {p.batch * p.tokens, 3 * p.width()}, DType::f32, Device::meta);
  const Var y = attention(tape, Var::parameter(x), p.options());
  const int64_t lse_bytes = p.batch * p.heads * p.tokens * 4;
  CHECK(arena.peak_bytes() == y.value().nbytes() + lse_bytes);
  tape.backward(y);
  CHECK(arena.peak_bytes() == 2 * y.value().nbytes() + lse_bytes);  // and dy
}

TEST_CASE("attention refuses calls that make no sense", "[attention]") {
  const Problem p{2, 2, 4, 3};
  const Tensor qkv = random_qkv(p);
  AttentionOptions o = p.options();
  const auto refuses = [&](const char* part, Mode mode = Mode::infer) {
    std::string message;
    try {
      run(qkv, o, mode);
    } catch (const Error& e) {
      message = e.what();
    }
    INFO("got \"" << message << "\", expected " << part);
    CHECK(message.find(part) != std::string::npos);
    o = p.options();
  };
  o.heads = 4;
  refuses("attention: qkv must be [2*T, 3*4*D], got [8, 18]");
  o.batch = 3;
  refuses("attention: qkv must be");
  o.batch = 0;
  refuses("must be positive");
  o.dropout = 1;
  refuses("p must lie in [0, 1)");
  o.queries = 5;
  refuses("queries must be at most 4, got 5");
  o.queries = 1;
  refuses("for inference", Mode::train);
  o.past = 1;
  refuses("past must be 0 without a cache");
  o.cache = Tensor::empty({2, 6, 17}, DType::f32);
  refuses("cache must be f32 [2, capacity, 18], got f32 [2, 6, 17]");
  o.cache = Tensor::empty({2, 6, 18}, DType::f64);
  refuses("cache must be f32");
  o.cache = Tensor::empty({2, 6, 18}, DType::f32);
  o.past = 3;
  refuses("4 positions behind 3 do not fit into a cache of 6");
}

}  // namespace moe
