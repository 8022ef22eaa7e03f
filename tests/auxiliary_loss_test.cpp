// The auxiliary losses against values worked out by hand, and against the mistakes that public
// implementations make. A test of a mistake first computes the value that it would give, and asks for the
// right one.

#include <algorithm>
#include <numeric>

#include "tests/routing_fixture.h"

using namespace moe;
using namespace moe::test;

namespace {

double softplus_of(double x) {
  return std::log1p(std::exp(x));
}
double phi(double z) {
  return std::erfc(-z / std::sqrt(2.0)) / 2;
}

double cv_squared(const std::vector<double>& x, double freedom = 0) {
  const auto n = static_cast<double>(x.size());
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / n;
  double sum = 0;
  for (const double v : x) sum += (v - mean) * (v - mean);
  return sum / (n - freedom) / (mean * mean + 1e-10);
}

}  // namespace

TEST_CASE("importance loss takes the population variance, not the unbiased one", "[importance_loss]") {
  Bench b;
  const Gating g{b.var({0.9, 0.1, 0.6, 0.4}, {2, 2}), b.ids({0, 2, 0, 1}, {2, 2})};
  const std::vector<double> importance = {1.5, 0.4, 0.1};
  REQUIRE(std::abs(cv_squared(importance) - cv_squared(importance, 1)) > 0.1);
  CHECK(b.number(importance_loss(b.tape, g, 3)) == Approx(cv_squared(importance)).epsilon(1e-12));
}

TEST_CASE("importance loss is 0 when balanced, E - 1 when one expert has all, 0 for no tokens",
          "[importance_loss]") {
  Bench b;
  const Var ones = b.var({1, 1, 1, 1}, {4, 1});
  CHECK(b.number(importance_loss(b.tape, {ones, b.ids({2, 0, 3, 1}, {4, 1})}, 4)) == Approx(0).margin(1e-15));
  CHECK(b.number(importance_loss(b.tape, {ones, b.ids({2, 2, 2, 2}, {4, 1})}, 4)) == Approx(3));
  CHECK(b.number(importance_loss(b.tape, {b.var({}, {0, 2}), b.ids({}, {0, 2})}, 4)) == 0);
}

namespace {

// One token whose load is known by hand, and what each mistake would make of it.
struct LoadExample {
  std::vector<double> logits = {1.0, 0.4, -0.3, 0.1}, noise_logits = {0.2, -0.5, 0.7, 0.0},
                      normals = {-0.9, 0.3, 1.5, -0.2}, h;
  std::vector<size_t> order = {0, 1, 2, 3};  // by falling h
  int64_t k = 2;

  LoadExample() {
    for (size_t e = 0; e < 4; ++e) h.push_back(logits[e] + normals[e] * softplus_of(noise_logits[e]));
    std::sort(order.begin(), order.end(), [&](size_t a, size_t c) { return h[a] > h[c]; });
  }
  bool chosen(size_t e) const { return e == order[0] || e == order[1]; }
  double deviation(size_t e) const { return softplus_of(noise_logits[e]) + 1e-2; }

  template <class Probability>
  double loss(Probability p, double freedom = 0) const {
    std::vector<double> load;
    for (size_t e = 0; e < 4; ++e) load.push_back(p(e));
    return cv_squared(load, freedom);
  }
  double right() const {
    return loss([&](size_t e) { return phi((logits[e] - h[order[chosen(e) ? 2 : 1]]) / deviation(e)); });
  }
  void check_not(double wrong) const {
    REQUIRE(std::abs(wrong - right()) > 1e-3);
    Bench b;
    const Noise noise{.values = b.var(normals, {1, 4}).value(), .rng = {}};
    const Var l = b.var(logits, {1, 4}), v = b.var(noise_logits, {1, 4});
    CHECK(b.number(load_loss(b.tape, l, v, noise, k)) == Approx(right()).epsilon(1e-12));
  }
};

}  // namespace

TEST_CASE("load loss compares with the k-th of the others, not with the k-th of all", "[load_loss]") {
  const LoadExample x;
  x.check_not(x.loss([&](size_t e) { return phi((x.logits[e] - x.h[x.order[1]]) / x.deviation(e)); }));
}

TEST_CASE("load loss compares clean logits with noisy ones, not with gates or with themselves",
          "[load_loss]") {
  const LoadExample x;
  const double top = std::exp(x.h[x.order[0]]), second = std::exp(x.h[x.order[1]]);
  const auto softmaxed = [&](size_t e) { return x.chosen(e) ? 0.0 : second / (top + second); };
  x.check_not(x.loss([&](size_t e) { return phi((x.logits[e] - softmaxed(e)) / x.deviation(e)); }));
  x.check_not(
      x.loss([&](size_t e) { return phi((x.h[e] - x.h[x.order[x.chosen(e) ? 2 : 1]]) / x.deviation(e)); }));
}

TEST_CASE("load loss takes the population variance and a deviation of softplus + 0.01", "[load_loss]") {
  const LoadExample x;
  const auto p = [&](size_t e, double d) {
    return phi((x.logits[e] - x.h[x.order[x.chosen(e) ? 2 : 1]]) / d);
  };
  x.check_not(x.loss([&](size_t e) { return p(e, x.deviation(e)); }, 1));
  x.check_not(x.loss([&](size_t e) { return p(e, x.deviation(e) - 1e-2); }));
}

TEST_CASE("load loss breaks ties as the gating does", "[load_loss]") {
  Bench b;
  // Without noise worth the name, experts 0 and 1 tie for the one place. 0 has it, so its threshold is the h
  // of 1, and the threshold of the others is the h of 0.
  const Var l = b.var({2, 2, 0}, {1, 3}), v = b.var({1, 1, 1}, {1, 3});
  const Noise noise{.values = b.var({0, 0, 0}, {1, 3}).value(), .rng = {}};
  const double far = phi(-2 / (softplus_of(1) + 1e-2));
  CHECK(b.number(load_loss(b.tape, l, v, noise, 1)) == Approx(cv_squared({0.5, 0.5, far})).epsilon(1e-12));
  CHECK(b.number(load_loss(b.tape, l, v, noise, 3)) == 0);
}

TEST_CASE("balance loss is 1 when balanced and E when one expert has all", "[balance_loss]") {
  Bench b;
  // Balanced: even counts and even probabilities.
  const Var even = b.var(std::vector<double>(16, 0.7), {4, 4});
  CHECK(b.number(balance_loss(b.tape, even, b.ids({0, 1, 2, 3}, {4, 1}))) == Approx(1).epsilon(1e-12));
  CHECK(b.number(balance_loss(b.tape, even, b.ids({0, 1, 2, 3, 0, 1, 2, 3}, {4, 2}))) ==
        Approx(1).epsilon(1e-12));
  std::vector<double> sure(16, 0.0);
  for (size_t n = 0; n < 4; ++n) sure[4 * n + 2] = 50;
  CHECK(b.number(balance_loss(b.tape, b.var(sure, {4, 4}), b.ids({2, 2, 2, 2}, {4, 1}))) == Approx(4));
  CHECK(b.number(balance_loss(b.tape, b.var({}, {0, 4}), b.ids({}, {0, 2}))) == 0);
}

TEST_CASE("balance loss takes probabilities from the full softmax, not from the sparse gates",
          "[balance_loss]") {
  Bench b;
  const std::vector<double> logits = {1, 0.5, 0};
  const double sum = std::exp(1) + std::exp(0.5) + 1, sparse = std::exp(1) + std::exp(0.5);
  const double right = 3 * (0.5 * std::exp(1) / sum + 0.5 * std::exp(0.5) / sum);
  const double wrong = 3 * (0.5 * std::exp(1) / sparse + 0.5 * std::exp(0.5) / sparse);
  REQUIRE(std::abs(right - wrong) > 0.1);
  CHECK(b.number(balance_loss(b.tape, b.var(logits, {1, 3}), b.ids({0, 1}, {1, 2}))) ==
        Approx(right).epsilon(1e-12));
}

TEST_CASE("losses of large logits are finite", "[z_loss]") {
  Bench b;
  const Var logits = b.var({1000, 999, -1000, -1e300}, {1, 4});
  CHECK(b.number(z_loss(b.tape, logits)) == Approx(std::pow(1000 + std::log1p(std::exp(-1.0)), 2)));
  CHECK(std::isfinite(b.number(balance_loss(b.tape, logits, b.ids({0, 1}, {1, 2})))));
  const Noise noise{.values = b.var({1, -1, 0.5, 0}, {1, 4}).value(), .rng = {}};
  const Var wide = b.var({800, -800, 3, 0}, {1, 4});
  CHECK(std::isfinite(b.number(load_loss(b.tape, logits, wide, noise, 2))));
  CHECK(b.number(z_loss(b.tape, b.var({}, {0, 4}))) == 0);
}
