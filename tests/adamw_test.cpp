// The optimizer's kernels: the norm of a gradient in pieces, and AdamW.

#include "kernels/adamw/adamw.h"

#include <cmath>

#include "core/parallel.h"
#include "core/philox.h"
#include "kernels/grad_norm/grad_norm.h"
#include "tests/catch.h"
#include "tests/worse.h"

using namespace moe;
using kernels::AdamWOptions;

namespace {

template <class T>
std::vector<T> random_values(size_t n, uint32_t stream) {
  std::vector<T> values(n);
  for (size_t i = 0; i < n; ++i)
    values[i] = static_cast<T>(random_normal({.seed = 8, .step = 0, .stream = stream}, i));
  return values;
}

// Lengths of nothing, one, a block, one more, and several blocks.
const std::vector<size_t> kLengths = {0, 1, 7, 16384, 16385, 40001};

template <class T>
double norm_of(const std::vector<std::vector<T>>& pieces, double squares = 0) {
  std::vector<kernels::GradSegment<T>> segments;
  segments.reserve(pieces.size());
  for (const auto& p : pieces) segments.push_back({p.data(), static_cast<int64_t>(p.size())});
  double norm = -1;
  kernels::cpu::grad_norm(kernels::Gradients<T>{segments, {}, squares}, &norm);
  return norm;
}

// One tensor and its optimizer state.
template <class T>
struct Piece {
  std::vector<T> value, grad, m, v;
  int64_t step = 0;  // updates so far

  Piece(size_t n, uint32_t stream) : value(random_values<T>(n, stream)), grad(n), m(n), v(n) {}
};

template <class T>
void kernel_step(const AdamWOptions& o, std::vector<Piece<T>>& pieces) {
  std::vector<kernels::AdamWSegment<T>> segments;
  segments.reserve(pieces.size());
  for (Piece<T>& p : pieces)
    segments.push_back({p.value.data(), p.grad.data(), p.m.data(), p.v.data(),
                        static_cast<int64_t>(p.value.size()), ++p.step});
  kernels::cpu::adamw(o, std::span<const kernels::AdamWSegment<T>>(segments));
}

// torch.optim.AdamW as its documentation writes it, one element at a time, in double.
void plain_step(const AdamWOptions& o, Piece<double>& p) {
  ++p.step;
  for (size_t i = 0; i < p.value.size(); ++i) {
    const double g = p.grad[i] * o.grad_scale;
    p.value[i] -= o.lr * o.weight_decay * p.value[i];
    p.m[i] = o.beta1 * p.m[i] + (1 - o.beta1) * g;
    p.v[i] = o.beta2 * p.v[i] + (1 - o.beta2) * g * g;
    const double m_hat = p.m[i] / (1 - std::pow(o.beta1, static_cast<double>(p.step)));
    const double v_hat = p.v[i] / (1 - std::pow(o.beta2, static_cast<double>(p.step)));
    p.value[i] -= o.lr * m_hat / (std::sqrt(v_hat) + o.eps);
  }
}

// `steps` updates by the kernel in T and by plain loops in double, with the same gradients.
template <class T>
double largest_error(const AdamWOptions& o, int steps) {
  std::vector<Piece<T>> pieces;
  std::vector<Piece<double>> plain;
  for (size_t s = 0; s < kLengths.size(); ++s) {
    pieces.emplace_back(kLengths[s], static_cast<uint32_t>(s));
    plain.emplace_back(kLengths[s], static_cast<uint32_t>(s));
    plain.back().value.assign(pieces.back().value.begin(), pieces.back().value.end());
    pieces.back().step = plain.back().step = static_cast<int64_t>(s);  // each has a count of its own
  }
  for (int step = 0; step < steps; ++step) {
    for (size_t s = 0; s < pieces.size(); ++s) {
      pieces[s].grad =
          random_values<T>(kLengths[s], static_cast<uint32_t>(100 + 10 * step) + static_cast<uint32_t>(s));
      plain[s].grad.assign(pieces[s].grad.begin(), pieces[s].grad.end());
      plain_step(o, plain[s]);
    }
    kernel_step(o, pieces);
  }
  double most = 0;
  for (size_t s = 0; s < pieces.size(); ++s)
    for (size_t i = 0; i < kLengths[s]; ++i) {
      most = test::worse(most, std::abs(static_cast<double>(pieces[s].value[i]) - plain[s].value[i]));
      most = test::worse(most, std::abs(static_cast<double>(pieces[s].grad[i]) - plain[s].grad[i]));  // kept
    }
  return most;
}

}  // namespace

TEST_CASE("the norm of a gradient in pieces is that of all its elements", "[grad_norm]") {
  std::vector<std::vector<float>> pieces;
  long double sum = 0;
  for (size_t s = 0; s < kLengths.size(); ++s) {
    pieces.push_back(random_values<float>(kLengths[s], static_cast<uint32_t>(s)));
    for (const float g : pieces.back()) sum += static_cast<long double>(g) * static_cast<long double>(g);
  }
  CHECK(norm_of(pieces) == Approx(static_cast<double>(std::sqrt(sum))).epsilon(1e-13));
  CHECK(norm_of<double>({{3}, {}, {-4}}) == 5);
  CHECK(norm_of<float>({}) == 0);
  CHECK(norm_of<double>({{3}}, 16) == 5);
  CHECK(norm_of<float>({{1e30f, 1e30f}}) == Approx(std::sqrt(2) * 1e30));  // the squares are beyond float
  CHECK(std::isnan(norm_of<float>({{1, 2}, {std::nanf("")}})));
}

TEST_CASE("the gradient's norm is the same bits for any number of threads", "[grad_norm][threads]") {
  const std::vector<std::vector<float>> pieces = {random_values<float>(100001, 1),
                                                  random_values<float>(33, 2)};
  std::vector<double> norms;
  for (const int n : {1, 2, 3}) {
    set_threads(n);
    norms.push_back(norm_of(pieces));
  }
  set_threads(0);
  CHECK(norms[1] == norms[0]);
  CHECK(norms[2] == norms[0]);
}

TEST_CASE("AdamW follows its formula over several steps and leaves the gradient alone", "[adamw]") {
  AdamWOptions o;
  CHECK(largest_error<double>(o, 6) < 1e-13);
  o = {.lr = 0.03, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3, .weight_decay = 0.4, .grad_scale = 0.25};
  CHECK(largest_error<double>(o, 6) < 1e-13);
  // Values are up to about 4.5; a step moves them by at most some lr, and rounds three times.
  CHECK(largest_error<float>(o, 6) < 6 * 3 * 4.5 * 0x1p-24);
}

TEST_CASE("AdamW: the first step of a zero weight is lr against the gradient's sign, whatever its size",
          "[adamw]") {
  for (const double g : {1e-3, -7.0}) {
    std::vector<Piece<double>> one;
    one.emplace_back(1, 0);
    one[0].value = {0};
    one[0].grad = {g};
    kernel_step({}, one);
    CHECK(one[0].value[0] == Approx(g > 0 ? -1e-3 : 1e-3).epsilon(1e-4));
  }
}

TEST_CASE("AdamW: weight decay is decoupled from the gradient's size", "[adamw]") {
  std::vector<Piece<double>> one;
  one.emplace_back(1, 0);
  one[0].value = {2};
  kernel_step({.lr = 0.1, .weight_decay = 0.5}, one);
  CHECK(one[0].value[0] == Approx(2 * (1 - 0.1 * 0.5)).epsilon(1e-15));
  CHECK(one[0].m[0] == 0);  // an L2 penalty would have gone through the moments
}

TEST_CASE("AdamW gives the same bits for any number of threads, whatever else is in the call",
          "[adamw][threads]") {
  const auto run = [](int threads, bool with_others) {
    set_threads(threads);
    std::vector<Piece<float>> pieces;
    pieces.emplace_back(50000, 1);
    if (with_others) pieces.emplace_back(12345, 2);
    for (int step = 0; step < 3; ++step) {
      for (Piece<float>& p : pieces)
        p.grad = random_values<float>(p.value.size(), static_cast<uint32_t>(50 + step));
      kernel_step({}, pieces);
    }
    set_threads(0);
    return std::tuple(pieces[0].value, pieces[0].m, pieces[0].v);
  };
  const auto one = run(1, false);
  CHECK(run(2, false) == one);
  CHECK(run(3, true) == one);
}
