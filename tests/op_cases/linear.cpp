// linear, router_logits and grouped_linear. Sizes sit on both sides of a register tile and of a task's tile
// (kernels/gemm).

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "autograd/ops.h"
#include "tests/op_cases/routing.h"

namespace moe::test {
namespace {

// y[r] = x[r] weight^T + bias for rows [begin, end); weight [out, in] and bias [out] (or nullptr)
template <class T>
void linear_rows(int64_t begin, int64_t end, int64_t in, int64_t out, const T* x, const T* weight,
                 const T* bias, T* y) {
  for (int64_t r = begin; r < end; ++r) {
    for (int64_t j = 0; j < out; ++j) {
      T sum = 0;
      for (int64_t l = 0; l < in; ++l) sum += x[r * in + l] * weight[j * in + l];
      y[r * out + j] = bias ? sum + bias[j] : sum;
    }
  }
}

std::optional<Cost> product_cost(bool benchmark, int64_t rows, int64_t in, int64_t out) {
  if (!benchmark) return {};
  const double flops = 2.0 * static_cast<double>(rows * in * out);
  return Cost{.flops = flops, .backward_flops = 2 * flops};
}

void add_linear(OpCases& cases, int64_t rows, int64_t in, int64_t out, bool with_bias,
                bool benchmark = false) {
  std::vector<CaseInput> inputs{normal("x", {rows, in}), normal("weight", {out, in})};
  if (with_bias) inputs.push_back(normal("bias", {out}));
  cases.push_back(
      {.op = "linear",
       .label = fmt::format("{}x{} to {}{}", rows, in, out, with_bias ? "" : " without bias"),
       .inputs = std::move(inputs),
       .build = [](Tape& tape, Inputs x) { return linear(tape, x[0], x[1], x.size() > 2 ? x[2] : Var()); },
       .reference =
           [=]<class T>(const Values<T>& x) {
             std::vector<T> y(static_cast<size_t>(rows * out));
             linear_rows(0, rows, in, out, x[0].data(), x[1].data(), with_bias ? x[2].data() : nullptr,
                         y.data());
             return y;
           },
       .benchmark = product_cost(benchmark, rows, in, out)});
}

// One projection, or two, of which the second is weighted by 0.7 and added to the first.
void add_router_logits(OpCases& cases, int64_t tokens, int64_t dim, int64_t experts, bool noisy,
                       bool benchmark = false) {
  const Gradient of_x = tokens ? Gradient::checked : Gradient::zero;
  std::vector<CaseInput> inputs{normal("x", {tokens, dim}, of_x), normal("weight", {experts, dim}, of_x),
                                normal("bias", {experts}, of_x)};
  if (noisy) {
    inputs.push_back(normal("noise_weight", {experts, dim}, of_x));
    inputs.push_back(normal("noise_bias", {experts}, of_x));
  }
  cases.push_back(
      {.op = "router_logits",
       .label = fmt::format("{}x{} to {}{}", tokens, dim, experts, noisy ? " twice" : ""),
       .inputs = std::move(inputs),
       .build =
           [=](Tape& tape, Inputs x) {
             if (!noisy) return router_logits(tape, x[0], x[1], x[2]).logits;
             const RouterLogits r = router_logits(tape, x[0], x[1], x[2], x[3], x[4]);
             return add(tape, r.logits, scale(tape, r.noise_logits, 0.7));
           },
       .reference =
           [=]<class T>(const Values<T>& x) {
             std::vector<T> y(static_cast<size_t>(tokens * experts)), second(y);
             linear_rows(0, tokens, dim, experts, x[0].data(), x[1].data(), x[2].data(), y.data());
             if (!noisy) return y;
             linear_rows(0, tokens, dim, experts, x[0].data(), x[3].data(), x[4].data(), second.data());
             for (size_t i = 0; i < y.size(); ++i) y[i] += static_cast<T>(0.7) * second[i];
             return y;
           },
       .benchmark = product_cost(benchmark, tokens, dim, noisy ? 2 * experts : experts)});
}

struct Group {
  std::string label;
  int64_t tokens, topk, in, out;
  std::vector<int32_t> rows;  // of each expert; what is missing of tokens * topk was dropped
  Gradient gradient = Gradient::checked;
  bool benchmark = false;
  Epilogue epilogue = Epilogue::none;
};

// The epilogue, of all of y.
template <class T>
void apply(Epilogue epilogue, std::vector<T>& y) {
  for (T& v : y) {
    if (epilogue == Epilogue::relu && v < 0) v = 0;
    if (epilogue == Epilogue::silu) v /= 1 + std::exp(-v);
  }
}

void add_grouped_linear(OpCases& cases, const Group& g) {
  const int64_t experts = static_cast<int64_t>(g.rows.size()), rows = g.tokens * g.topk, in = g.in,
                out = g.out;
  std::vector<int32_t> offsets(g.rows.size() + 1, 0);
  std::partial_sum(g.rows.begin(), g.rows.end(), offsets.begin() + 1);
  cases.push_back(
      {.op = "grouped_linear",
       .label = g.label,
       .inputs = {normal("x", {rows, in}, g.gradient), normal("weight", {experts, out, in}, g.gradient),
                  normal("bias", {experts, out}, g.gradient)},
       .build =
           [=, tokens = g.tokens, topk = g.topk, epilogue = g.epilogue](Tape& tape, Inputs x) {
             const DispatchPlan plan{.tokens = tokens,
                                     .topk = topk,
                                     .experts = experts,
                                     .offsets = ints(tape, {experts + 1}, offsets),
                                     .assignment = {},
                                     .row = {},
                                     .count = {}};
             return grouped_linear(tape, x[0], x[1], x[2], plan, epilogue);
           },
       .reference =
           [=, epilogue = g.epilogue]<class T>(const Values<T>& x) {
             std::vector<T> y(static_cast<size_t>(rows * out), T(0));
             for (int64_t e = 0; e < experts; ++e)
               linear_rows(offsets[static_cast<size_t>(e)], offsets[static_cast<size_t>(e + 1)], in, out,
                           x[0].data(), x[1].data() + e * out * in, x[2].data() + e * out, y.data());
             apply(epilogue, y);
             return y;
           },
       .benchmark = product_cost(g.benchmark, offsets.back(), in, out)});
}

// Tokens to their experts, all assignments but those beyond the capacity, and the product.
void add_gathered_linear(OpCases& cases, const Routing& r, int64_t capacity, int64_t in, int64_t out,
                         Epilogue epilogue, bool benchmark = false) {
  const std::vector<int32_t> expert = some_experts(r);
  const Gradient gradient = r.N == 0 ? Gradient::zero : Gradient::checked;
  const std::string name = epilogue == Epilogue::silu ? "silu" : epilogue == Epilogue::relu ? "relu" : "none";
  const auto reference = [=]<class T>(const Values<T>& x) {
    std::vector<T> y(at(r.N * r.k * out));
    T* row = y.data();
    for (const int64_t a : plain_assignment(r, expert, capacity)) {
      if (a < 0) break;  // the rest is unused
      const int64_t e = expert[at(a)];
      linear_rows(0, 1, in, out, x[0].data() + a / r.k * in, x[1].data() + e * out * in,
                  x[2].data() + e * out, row);
      row += out;
    }
    apply(epilogue, y);
    return y;
  };
  cases.push_back(
      {.op = "grouped_linear",
       .label = fmt::format("gathered, {}, {} to {}, capacity {}, {}", r.str(), in, out, capacity, name),
       .inputs = {normal("x", {r.N, in}, gradient), normal("weight", {r.E, out, in}, gradient),
                  normal("bias", {r.E, out}, gradient)},
       .build =
           [=](Tape& tape, Inputs x) {
             const Tensor ids = ints(tape, {r.N, r.k}, expert);
             return gathered_linear(tape, x[0], x[1], x[2], dispatch_plan(tape, ids, r.E, capacity),
                                    epilogue);
           },
       .reference = reference,
       .benchmark = product_cost(benchmark, r.N * r.k, in, out)});
}

}  // namespace

void add_linear_cases(OpCases& cases) {
  for (const bool with_bias : {true, false}) {
    add_linear(cases, 1, 1, 1, with_bias);
    add_linear(cases, 5, 7, 3, with_bias);
    add_linear(cases, 0, 4, 2, with_bias);
    add_linear(cases, 13, 17, 33, with_bias);
  }
  add_linear(cases, 3, 0, 2, true);
  add_linear(cases, 2, 300, 2, true);
  add_linear(cases, 140, 5, 2, true);
  add_linear(cases, 2, 3, 131, true);
  add_linear(cases, 512, 128, 384, true, true);

  for (const bool noisy : {false, true}) {
    add_router_logits(cases, 0, 4, 2, noisy);
    add_router_logits(cases, 1, 1, 1, noisy);
    add_router_logits(cases, 5, 7, 3, noisy);
    add_router_logits(cases, 67, 4, 8, noisy);
    add_router_logits(cases, 3, 70, 66, noisy);
  }
  add_router_logits(cases, 512, 128, 8, true, true);

  add_grouped_linear(cases, {"one expert, one token", 1, 1, 3, 2, {1}});
  add_grouped_linear(cases, {"one expert with all rows", 7, 1, 3, 5, {7}});
  add_grouped_linear(cases, {"the last of three experts has all rows", 5, 2, 4, 3, {0, 0, 10}});
  add_grouped_linear(cases, {"experts without rows between others", 6, 2, 5, 4, {0, 5, 0, 6, 1, 0}});
  add_grouped_linear(cases, {"every token at every expert", 3, 3, 4, 6, {3, 3, 3}});
  add_grouped_linear(cases, {"dropped rows", 6, 2, 3, 4, {3, 1, 3}});
  add_grouped_linear(cases, {"all rows dropped", 2, 2, 3, 4, {0, 0}, Gradient::zero});
  add_grouped_linear(cases, {"no tokens", 0, 2, 3, 4, {0, 0, 0}});
  add_grouped_linear(cases, {"rows beyond a tile", 20, 2, 9, 18, {14, 1, 25}});
  add_grouped_linear(cases, {.label = "relu, dropped rows and an expert without any",
                             .tokens = 9,
                             .topk = 2,
                             .in = 5,
                             .out = 19,
                             .rows = {7, 0, 3, 1},
                             .epilogue = Epilogue::relu});
  add_grouped_linear(cases, {.label = "relu, rows beyond a tile",
                             .tokens = 40,
                             .topk = 1,
                             .in = 34,
                             .out = 21,
                             .rows = {33, 7},
                             .epilogue = Epilogue::relu});
  add_grouped_linear(cases, {.label = "silu, dropped rows and an expert without any",
                             .tokens = 9,
                             .topk = 2,
                             .in = 5,
                             .out = 19,
                             .rows = {7, 0, 3, 1},
                             .epilogue = Epilogue::silu});
  add_grouped_linear(cases, {.label = "512 tokens, 2 of 8 experts, 128 to 512",
                             .tokens = 512,
                             .topk = 2,
                             .in = 128,
                             .out = 512,
                             .rows = {128, 140, 100, 96, 160, 131, 200, 60},
                             .benchmark = true});

  for (const Epilogue epilogue : {Epilogue::none, Epilogue::relu, Epilogue::silu}) {
    add_gathered_linear(cases, {0, 3, 2}, kNoCapacity, 3, 4, epilogue);
    add_gathered_linear(cases, {9, 4, 2}, kNoCapacity, 5, 7, epilogue);
    add_gathered_linear(cases, {9, 4, 2}, 3, 4, 9, epilogue);
  }
  add_gathered_linear(cases, {1, 1, 1}, kNoCapacity, 1, 1, Epilogue::none);
  add_gathered_linear(cases, {90, 2, 1}, kNoCapacity, 3, 2, Epilogue::relu);
  add_gathered_linear(cases, kTypicalRouting, kNoCapacity, 128, 512, Epilogue::relu, true);
}

}  // namespace moe::test
