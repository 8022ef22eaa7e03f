// Gating and the auxiliary losses. What they do beyond these formulas (ties, drops, the
// traps of the losses) is in routing_test.cpp.

#include "tests/op_cases/routing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "autograd/ops.h"

namespace moe::test {
namespace {

template <class T>
T softplus_of(T x) {
  return std::log1p(std::exp(x));
}

// 0, 1, ..., n-1 by falling h, equal ones by rising index.
template <class T>
std::vector<int64_t> by_falling(const T* h, int64_t n) {
  std::vector<int64_t> order(at(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [=](int64_t a, int64_t b) { return h[a] > h[b]; });
  return order;
}

template <class T>
std::vector<T> softmax_of(const std::vector<T>& x) {
  const T top = *std::max_element(x.begin(), x.end());
  T sum = 0;
  std::vector<T> p = x;
  for (T& v : p) v = std::exp(v - top);
  for (const T v : p) sum += v;
  for (T& v : p) v /= sum;
  return p;
}

// --- gating and load_loss ---

template <class T>
std::vector<T> gates(const Routing& r, GateSoftmax softmax, const std::vector<T>& h) {
  std::vector<T> gate;
  for (int64_t n = 0; n < r.N; ++n) {
    const std::vector<T> row(h.begin() + n * r.E, h.begin() + (n + 1) * r.E);
    const std::vector<int64_t> order = by_falling(row.data(), r.E);
    std::vector<T> chosen;
    for (int64_t j = 0; j < r.k; ++j) chosen.push_back(row[at(order[at(j)])]);
    const std::vector<T> p = softmax_of(softmax == GateSoftmax::all ? row : chosen);
    for (int64_t j = 0; j < r.k; ++j)
      gate.push_back(p[softmax == GateSoftmax::all ? at(order[at(j)]) : at(j)]);
  }
  return gate;
}

template <class T>
std::vector<T> load_cv_squared(const Routing& r, const std::vector<T>& logits,
                               const std::vector<T>& noise_logits, const std::vector<T>& h) {
  std::vector<T> load(at(r.E));
  for (int64_t n = 0; n < r.N; ++n) {
    const T* row = h.data() + n * r.E;
    const std::vector<int64_t> order = by_falling(row, r.E);
    for (int64_t e = 0; e < r.E; ++e) {
      std::vector<T> others;  // the k-th largest without e: Shazeer's kth_excluding by its definition
      for (const int64_t o : order)
        if (o != e) others.push_back(row[o]);
      if (r.k > static_cast<int64_t>(others.size())) {
        load[at(e)] += 1;
        continue;
      }
      const T z = (logits[at(n * r.E + e)] - others[at(r.k - 1)]) /
                  (softplus_of(noise_logits[at(n * r.E + e)]) + static_cast<T>(1e-2));
      load[at(e)] += std::erfc(-z / std::sqrt(T(2))) / 2;
    }
  }
  const T mean = std::accumulate(load.begin(), load.end(), T(0)) / static_cast<T>(r.E);
  T variance = 0;
  for (const T x : load) variance += (x - mean) * (x - mean) / static_cast<T>(r.E);
  return {variance / (mean * mean + static_cast<T>(1e-10))};
}

enum class Normals { recorded, drawn };

const char* str(Normals n) {
  return n == Normals::recorded ? "recorded noise" : "drawn noise";
}
const char* str(GateSoftmax s) {
  return s == GateSoftmax::selected ? "softmax over the selected" : "softmax over all";
}

// logits, noise_logits and, when recorded, the normals: such that the noisy h are well apart.
std::vector<CaseInput> noisy_inputs(const Routing& r, Normals normals, Gradient gradient) {
  const Shape shape{r.N, r.E};
  std::vector<double> logits = spread("h", shape).values;
  const CaseInput noise_logits = normal("noise_logits", shape, gradient);
  const CaseInput recorded = normal("normals", shape, Gradient::none);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] -= (normals == Normals::drawn ? random_normal(kRng, i) : recorded.values[i]) *
                 softplus_of(noise_logits.values[i]);
  std::vector<CaseInput> inputs = {given("logits", shape, logits, gradient), noise_logits};
  if (normals == Normals::recorded) inputs.push_back(recorded);
  return inputs;
}

Noise noise_of(Inputs in) {
  return in.size() > 2 ? Noise{.values = in[2].value(), .rng = {}} : Noise{.values = {}, .rng = kRng};
}

template <class T>
std::vector<T> noisy(const Values<T>& in) {
  std::vector<T> h = in[0];
  for (size_t i = 0; i < h.size(); ++i)
    h[i] += (in.size() > 2 ? in[2][i] : static_cast<T>(random_normal(kRng, i))) * softplus_of(in[1][i]);
  return h;
}

void add_topk_gating(OpCases& cases, const Routing& r, GateSoftmax softmax) {
  // A softmax over one number is 1.
  const bool fixed = softmax == GateSoftmax::selected ? r.k == 1 : r.E == 1;
  cases.push_back(
      {.op = "gating",
       .label = fmt::format("{}, {}", r.str(), str(softmax)),
       .inputs = {spread("logits", {r.N, r.E}, 0.5, fixed ? Gradient::zero : Gradient::checked)},
       .build = [=](Tape& tape, Inputs in) { return topk_gating(tape, in[0], r.k, softmax).gate; },
       .reference = [=]<class T>(const Values<T>& in) { return gates(r, softmax, in[0]); }});
}

void add_noisy_gating(OpCases& cases, const Routing& r, GateSoftmax softmax, Normals normals,
                      std::optional<Cost> benchmark = {}) {
  const bool fixed = softmax == GateSoftmax::selected ? r.k == 1 : r.E == 1;
  cases.push_back({.op = "gating",
                   .label = fmt::format("{}, {}, {}", r.str(), str(softmax), str(normals)),
                   .inputs = noisy_inputs(r, normals, fixed ? Gradient::zero : Gradient::checked),
                   .build =
                       [=](Tape& tape, Inputs in) {
                         return noisy_topk_gating(tape, in[0], in[1], noise_of(in), r.k, softmax).gate;
                       },
                   .reference = [=]<class T>(const Values<T>& in) { return gates(r, softmax, noisy(in)); },
                   .benchmark = benchmark});
}

void add_load_loss(OpCases& cases, const Routing& r, Normals normals, std::optional<Cost> benchmark = {}) {
  cases.push_back(
      {.op = "load_loss",
       .label = fmt::format("{}, {}", r.str(), str(normals)),
       .inputs = noisy_inputs(r, normals, r.k == r.E ? Gradient::zero : Gradient::checked),
       .build = [=](Tape& tape, Inputs in) { return load_loss(tape, in[0], in[1], noise_of(in), r.k); },
       .reference = [=]<class T>(const Values<T>& in) { return load_cv_squared(r, in[0], in[1], noisy(in)); },
       .benchmark = benchmark});
}

// --- the losses without noise ---

void add_importance_loss(OpCases& cases, const Routing& r, std::optional<Cost> benchmark = {}) {
  const std::vector<int32_t> expert = some_experts(r);
  cases.push_back(
      {.op = "importance_loss",
       .label = r.str(),
       .inputs = {uniform("gate", {r.N, r.k}, 0.1, 1, r.E == 1 ? Gradient::zero : Gradient::checked)},
       .build =
           [=](Tape& tape, Inputs in) {
             return importance_loss(tape, {in[0], ints(tape, {r.N, r.k}, expert)}, r.E);
           },
       .reference =
           [=]<class T>(const Values<T>& in) {
             std::vector<T> importance(at(r.E));
             for (size_t a = 0; a < expert.size(); ++a) importance[at(expert[a])] += in[0][a];
             T mean = 0, variance = 0;
             for (const T x : importance) mean += x / static_cast<T>(r.E);
             for (const T x : importance) variance += (x - mean) * (x - mean) / static_cast<T>(r.E);
             return std::vector<T>{variance / (mean * mean + static_cast<T>(1e-10))};
           },
       .benchmark = benchmark});
}

void add_balance_loss(OpCases& cases, const Routing& r, std::optional<Cost> benchmark = {}) {
  const std::vector<int32_t> expert = some_experts(r);
  // Where all have the same share, the gradient is what rounding leaves of 0: no such case but E = 1.
  const Gradient gradient = r.E == 1 ? Gradient::zero : Gradient::checked;
  cases.push_back({.op = "balance_loss",
                   .label = r.str(),
                   .inputs = {normal("logits", {r.N, r.E}, gradient)},
                   .build =
                       [=](Tape& tape, Inputs in) {
                         return balance_loss(tape, in[0], ints(tape, {r.N, r.k}, expert));
                       },
                   .reference =
                       [=]<class T>(const Values<T>& in) {
                         std::vector<T> P(at(r.E)), f(at(r.E));
                         for (int64_t n = 0; n < r.N; ++n) {
                           const auto row = in[0].begin() + n * r.E;
                           const std::vector<T> p = softmax_of(std::vector<T>(row, row + r.E));
                           for (size_t e = 0; e < p.size(); ++e) P[e] += p[e] / static_cast<T>(r.N);
                         }
                         for (const int32_t e : expert) f[at(e)] += T(1) / static_cast<T>(expert.size());
                         return std::vector<T>{static_cast<T>(r.E) *
                                               std::inner_product(f.begin(), f.end(), P.begin(), T(0))};
                       },
                   .benchmark = benchmark});
}

void add_z_loss(OpCases& cases, int64_t N, int64_t E, std::optional<Cost> benchmark = {}) {
  cases.push_back({.op = "z_loss",
                   .label = fmt::format("{} tokens, {} experts", N, E),
                   .inputs = {normal("logits", {N, E})},
                   .build = [](Tape& tape, Inputs in) { return z_loss(tape, in[0]); },
                   .reference =
                       [=]<class T>(const Values<T>& in) {
                         T loss = 0;
                         for (int64_t n = 0; n < N; ++n) {
                           T sum = 0;
                           for (int64_t e = 0; e < E; ++e) sum += std::exp(in[0][at(n * E + e)]);
                           loss += std::log(sum) * std::log(sum) / static_cast<T>(N);
                         }
                         return std::vector<T>{loss};
                       },
                   .benchmark = benchmark});
}

}  // namespace

void add_routing_cases(OpCases& cases) {
  const Routing& typical = kTypicalRouting;
  const int64_t logits = typical.N * typical.E;

  for (const GateSoftmax softmax : {GateSoftmax::selected, GateSoftmax::all}) {
    for (const Routing& r : {Routing{0, 4, 2}, {1, 1, 1}, {5, 8, 2}, {7, 4, 1}, {3, 6, 6}, {1, 70, 20}})
      add_topk_gating(cases, r, softmax);
    // 15 rows of 37: two tasks, whose border falls inside a pair of normals.
    for (const Routing& r : {Routing{0, 4, 2}, {1, 1, 1}, {5, 8, 2}, {7, 4, 1}, {3, 5, 5}, {15, 37, 3}})
      for (const Normals normals : {Normals::recorded, Normals::drawn})
        add_noisy_gating(cases, r, softmax, normals);
  }
  add_noisy_gating(
      cases, typical, GateSoftmax::selected, Normals::drawn,
      Cost{.bytes = float_bytes(3 * logits), .backward_bytes = float_bytes(6 * typical.N * typical.k)});

  for (const Routing& r :
       {Routing{0, 4, 2}, {1, 1, 1}, {1, 3, 1}, {6, 5, 2}, {9, 4, 1}, {4, 3, 3}, {15, 37, 3}})
    for (const Normals normals : {Normals::recorded, Normals::drawn}) add_load_loss(cases, r, normals);
  add_load_loss(cases, typical, Normals::drawn,
                Cost{.bytes = float_bytes(3 * logits), .backward_bytes = float_bytes(7 * logits)});

  for (const Routing& r : {Routing{0, 4, 2}, {1, 1, 1}, {1, 5, 2}, {6, 6, 1}, {80, 7, 2}}) {
    add_importance_loss(cases, r);
    add_balance_loss(cases, r);
    add_z_loss(cases, r.N, r.E);
  }
  add_importance_loss(cases, {4, 3, 3});
  add_importance_loss(cases, typical,
                      Cost{.bytes = float_bytes(2 * typical.N * typical.k),
                           .backward_bytes = float_bytes(3 * typical.N * typical.k)});
  add_balance_loss(cases, typical,
                   Cost{.bytes = float_bytes(logits), .backward_bytes = float_bytes(3 * logits)});
  add_z_loss(cases, typical.N, typical.E,
             Cost{.bytes = float_bytes(logits), .backward_bytes = float_bytes(3 * logits)});
}

}  // namespace moe::test
