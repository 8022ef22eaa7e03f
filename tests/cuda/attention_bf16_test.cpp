// Attention on tensor cores against plain loops in double, within what rounding to bf16 can do. Runs on a GPU
// and on the executor of tests/simt/ alike.
//
// Queries, keys, values and dy have few bits, so that bf16 holds them exactly. What is rounded then are the
// weights w and the scores' gradients ds, each by at most u = 2^-8 of itself. To first order
//
//   |error of y[i]|  <= u sum over j of w |v[j]|
//   |error of dv[j]| <= u sum over i of w |dy[i]|
//   |error of ds|    <= u |ds| + p |dy[i]| . |error of y[i]|, since delta = dy . y takes y as it came out
//   |error of dq[i]| <= scale sum over j of |error of ds| |k[j]|, and dk alike
//
// to which the roundings of single precision come, kSingle of each sum's terms.

#include <algorithm>
#include <cmath>

#include "kernels/attention/attention.h"
#include "tests/cuda/device_test.h"
#include "tests/same_bits.h"
#include "tests/worse.h"

namespace moe::test {
namespace {

namespace cuda = kernels::cuda;

constexpr double kUnit = 0x1p-8, kSingle = 5e-5;

kernels::AttentionShape shape_of(int64_t dim, int64_t tokens, double dropout) {
  kernels::AttentionShape s;
  s.batch = s.heads = 2;
  s.dim = dim;
  s.tokens = s.queries = tokens;
  s.scale = 1 / std::sqrt(static_cast<double>(dim));
  s.drop = kernels::DropRule(dropout);
  s.rng = {.seed = 9, .step = 1, .stream = 2};
  return s;
}

// Values and how far bf16 may be from them.
struct Bounded {
  std::vector<double> value, error;
  explicit Bounded(size_t n) : value(n), error(n) {}
  void add(size_t i, double term, double term_error) {
    value[i] += term;
    error[i] += term_error + kSingle * std::abs(term);
  }
};

struct Expected {
  Bounded y, dqkv;
};

// One query of one head, all of its keys.
class PlainQuery {
 public:
  PlainQuery(const kernels::AttentionShape& s, const std::vector<float>& qkv, const std::vector<float>& dy,
             int64_t b, int64_t h, int64_t i)
      : s_(s), qkv_(qkv), dy_(dy), b_(b), h_(h), i_(i), p_(static_cast<size_t>(i + 1)), w_(p_) {
    double total = 0;
    for (int64_t j = 0; j <= i; ++j) {
      double score = 0;
      for (int64_t c = 0; c < s.dim; ++c) score += qkv[at(i, 0, c)] * double{qkv[at(j, 1, c)]};
      total += p_[static_cast<size_t>(j)] = std::exp(s.scale * score);
    }
    for (int64_t j = 0; j <= i; ++j) {
      const auto draw = static_cast<uint64_t>(((b * s.heads + h) * s.tokens + i) * s.tokens + j);
      keep_scale_.push_back(random_u32(s.rng, draw) >= s.drop.threshold ? s.drop.scale : 0);
      p_[static_cast<size_t>(j)] /= total;
      w_[static_cast<size_t>(j)] = p_[static_cast<size_t>(j)] * keep_scale_.back();
    }
  }

  void add_to(Expected& out) const {
    for (int64_t j = 0; j <= i_; ++j)
      for (int64_t c = 0; c < s_.dim; ++c) {
        const double w = w_[static_cast<size_t>(j)], term = w * qkv_[at(j, 2, c)];
        out.y.add(row(c), term, kUnit * std::abs(term));
      }
    double delta = 0, delta_error = 0;
    for (int64_t c = 0; c < s_.dim; ++c) {
      delta += dy_[row(c)] * out.y.value[row(c)];
      delta_error += std::abs(dy_[row(c)]) * (out.y.error[row(c)] + kSingle * std::abs(out.y.value[row(c)]));
    }
    for (int64_t j = 0; j <= i_; ++j) add_gradients(out.dqkv, j, delta, delta_error);
  }

 private:
  // Element of qkv: channel c of a position's query (0), key (1) or value (2).
  size_t at(int64_t position, int64_t part, int64_t c) const {
    return static_cast<size_t>(((b_ * s_.tokens + position) * 3 + part) * s_.heads * s_.dim + h_ * s_.dim +
                               c);
  }
  size_t row(int64_t c) const {
    return static_cast<size_t>(((b_ * s_.tokens + i_) * s_.heads + h_) * s_.dim + c);
  }

  void add_gradients(Bounded& out, int64_t j, double delta, double delta_error) const {
    const auto key = static_cast<size_t>(j);
    double g = 0, g_error = 0;
    for (int64_t c = 0; c < s_.dim; ++c) {
      const double term = keep_scale_[key] * dy_[row(c)] * qkv_[at(j, 2, c)];
      g += term;
      g_error += kSingle * std::abs(term);
    }
    const double ds = p_[key] * (g - delta);
    const double ds_error = kUnit * std::abs(ds) + p_[key] * (g_error + delta_error);
    for (int64_t c = 0; c < s_.dim; ++c) {
      const double q = s_.scale * qkv_[at(i_, 0, c)], k = s_.scale * qkv_[at(j, 1, c)];
      const double dv = w_[key] * dy_[row(c)];
      out.add(at(i_, 0, c), ds * k, ds_error * std::abs(k));
      out.add(at(j, 1, c), ds * q, ds_error * std::abs(q));
      out.add(at(j, 2, c), dv, kUnit * std::abs(dv));
    }
  }

  const kernels::AttentionShape& s_;
  const std::vector<float>&qkv_, &dy_;
  int64_t b_, h_, i_;
  std::vector<double> p_, w_, keep_scale_;
};

Expected expected(const kernels::AttentionShape& s, const std::vector<float>& qkv,
                  const std::vector<float>& dy) {
  Expected out{Bounded(dy.size()), Bounded(qkv.size())};
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t h = 0; h < s.heads; ++h)
      for (int64_t i = 0; i < s.tokens; ++i) PlainQuery(s, qkv, dy, b, h, i).add_to(out);
  return out;
}

// The largest error in units of what is allowed.
double excess(const std::vector<float>& got, const Bounded& want) {
  double most = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    most = worse(most, std::abs(got[i] - want.value[i]) / (want.error[i] + 1e-6));
  }
  return most;
}

struct Forward {
  std::vector<float> y, lse;
};

Forward forward(const kernels::AttentionShape& s, const Tensor& qkv, const Tensor& cache) {
  const Tensor y = unwritten<float>(s.batch * s.queries * s.heads * s.dim),
               lse = unwritten<float>(s.batch * s.heads * s.queries);
  cuda::attention_forward(s, qkv.data<float>(), cache.data<float>(), y.data<float>(), lse.data<float>(),
                          current_stream());
  return {values_of<float>(y), values_of<float>(lse)};
}

}  // namespace

TEST_CASE("attention in bf16 is that of plain loops, up to the rounding of weights", "[cuda][attention]") {
  const InPrecision bf16(Precision::bf16);
  for (const int64_t dim : {5, 16, 20, 48, 64, 128})
    for (const int64_t tokens : {1, 17, 33, 70})
      for (const double dropout : {0.0, 0.3}) {
        INFO("width " << dim << ", " << tokens << " tokens, dropout " << dropout);
        const kernels::AttentionShape s = shape_of(dim, tokens, dropout);
        const int64_t rows = s.batch * tokens, width = s.heads * dim;
        const auto qkv = coarse(normals(rows * 3 * width, 1)), dy = coarse(normals(rows * width, 2));
        Expected want = expected(s, qkv, dy);
        const Tensor gqkv = on_gpu(qkv), gdy = on_gpu(dy), gy = unwritten<float>(rows * width),
                     lse = unwritten<float>(rows * s.heads);
        const auto before = coarse(normals(rows * 3 * width, 3));  // backward adds
        for (size_t i = 0; i < before.size(); ++i) want.dqkv.value[i] += before[i];
        const Tensor gdqkv = on_gpu(before);
        cuda::attention_forward(s, gqkv.data<float>(), nullptr, gy.data<float>(), lse.data<float>(),
                                current_stream());
        cuda::attention_backward(s, gqkv.data<float>(), gy.data<float>(), lse.data<float>(),
                                 gdy.data<float>(), gdqkv.data<float>(), current_stream());
        CHECK(excess(values_of<float>(gy), want.y) <= 1);
        CHECK(excess(values_of<float>(gdqkv), want.dqkv) <= 1);
        if (tokens == 70) CHECK(excess(values_of<float>(gy), want.y) > 0.01);  // it did round
      }
}

TEST_CASE("a position's attention in bf16 has the same bits whatever else the call has",
          "[cuda][attention]") {
  const InPrecision bf16(Precision::bf16);
  for (const int64_t dim : {16, 128}) {
    kernels::AttentionShape s = shape_of(dim, 75, 0);
    s.batch = 1;
    const int64_t width = s.heads * dim;
    const auto qkv = normals(s.tokens * 3 * width, 1);
    const Forward whole = forward(s, on_gpu(qkv), {});
    // The last 40 positions behind 35 in a cache, and of those the last 3 alone.
    for (const int64_t queries : {40, 3}) {
      kernels::AttentionShape part = s;
      part.past = 35;
      part.tokens = 40;
      part.queries = queries;
      part.capacity = s.tokens;
      const auto split = qkv.begin() + part.past * 3 * width;
      std::vector<float> cached(qkv.begin(), split);
      cached.resize(qkv.size());
      const Forward got = forward(part, on_gpu(std::vector<float>(split, qkv.end())), on_gpu(cached));
      CHECK(same_bits(got.y, std::vector<float>(whole.y.end() - queries * width, whole.y.end())));
      for (int64_t h = 0; h < s.heads; ++h) {
        const auto of_head = got.lse.begin() + h * queries, all = whole.lse.begin() + (h + 1) * s.tokens;
        CHECK(same_bits(std::vector<float>(of_head, of_head + queries),
                        std::vector<float>(all - queries, all)));
      }
    }
  }
}

}  // namespace moe::test
