// gather and combine. What they do beyond these formulas is in routing_test.cpp.

#include "tests/op_cases/routing.h"

namespace moe::test {
namespace {

std::string plan_label(const Routing& r, int64_t dim, int64_t capacity) {
  return capacity == kNoCapacity ? fmt::format("{}, width {}", r.str(), dim)
                                 : fmt::format("{}, width {}, capacity {}", r.str(), dim, capacity);
}

void add_gather(OpCases& cases, const Routing& r, int64_t dim, int64_t capacity,
                const std::vector<int32_t>& expert, std::optional<Cost> benchmark = {}) {
  cases.push_back({.op = "gather",
                   .label = plan_label(r, dim, capacity),
                   .inputs = {normal("x", {r.N, dim}, capacity == 0 ? Gradient::zero : Gradient::checked)},
                   .build =
                       [=](Tape& tape, Inputs in) {
                         const Tensor ids = ints(tape, {r.N, r.k}, expert);
                         return gather(tape, in[0], dispatch_plan(tape, ids, r.E, capacity));
                       },
                   .reference =
                       [=]<class T>(const Values<T>& in) {
                         std::vector<T> rows;
                         for (const int64_t a : plain_assignment(r, expert, capacity))
                           for (int64_t c = 0; c < dim; ++c)
                             rows.push_back(a < 0 ? T(0) : in[0][at(a / r.k * dim + c)]);
                         return rows;
                       },
                   .benchmark = benchmark});
}

void add_combine(OpCases& cases, const Routing& r, int64_t dim, int64_t capacity,
                 const std::vector<int32_t>& expert, std::optional<Cost> benchmark = {}) {
  const Gradient gradient = capacity == 0 ? Gradient::zero : Gradient::checked;
  cases.push_back(
      {.op = "combine",
       .label = plan_label(r, dim, capacity),
       .inputs = {normal("rows", {r.N * r.k, dim}, gradient), normal("gate", {r.N, r.k}, gradient)},
       .build =
           [=](Tape& tape, Inputs in) {
             const Tensor ids = ints(tape, {r.N, r.k}, expert);
             return combine(tape, in[0], in[1], dispatch_plan(tape, ids, r.E, capacity));
           },
       .reference =
           [=]<class T>(const Values<T>& in) {
             std::vector<T> y(at(r.N * dim));
             const std::vector<int64_t> assignment = plain_assignment(r, expert, capacity);
             for (int64_t row = 0; row < r.N * r.k; ++row) {
               const int64_t a = assignment[at(row)];
               for (int64_t c = 0; a >= 0 && c < dim; ++c)
                 y[at(a / r.k * dim + c)] += in[1][at(a)] * in[0][at(row * dim + c)];
             }
             return y;
           },
       .benchmark = benchmark});
}

// With dropout of the rows, and x added.
void add_add_combine(OpCases& cases, const Routing& r, int64_t dim, int64_t capacity, double p,
                     std::optional<Cost> benchmark = {}) {
  const std::vector<int32_t> expert = some_experts(r);
  cases.push_back(
      {.op = "combine",
       .label = fmt::format("added, {}, p = {}", plan_label(r, dim, capacity), p),
       .inputs = {normal("x", {r.N, dim}), normal("rows", {r.N * r.k, dim}), normal("gate", {r.N, r.k})},
       .build =
           [=](Tape& tape, Inputs in) {
             const Tensor ids = ints(tape, {r.N, r.k}, expert);
             return add_combine(tape, in[0], in[1], in[2], dispatch_plan(tape, ids, r.E, capacity), p, kRng);
           },
       .reference =
           [=]<class T>(const Values<T>& in) {
             std::vector<T> y = in[0];
             const std::vector<int64_t> assignment = plain_assignment(r, expert, capacity);
             for (int64_t i = 0; i < r.N * r.k * dim; ++i) {
               const int64_t a = assignment[at(i / dim)];
               if (a < 0 || random_u32(kRng, at(i)) < p * 0x1p32) continue;
               y[at(a / r.k * dim + i % dim)] += in[2][at(a)] * in[1][at(i)] / static_cast<T>(1 - p);
             }
             return y;
           },
       .benchmark = benchmark});
}

}  // namespace

void add_dispatch_cases(OpCases& cases) {
  const Routing& typical = kTypicalRouting;
  const int64_t width = 128, x = typical.N * width, rows = typical.k * x;

  struct Plan {
    Routing r;
    int64_t dim, capacity;
  };
  for (const auto& [r, dim, capacity] : {Plan{{0, 4, 2}, 3, kNoCapacity},
                                         {{1, 1, 1}, 1, kNoCapacity},
                                         {{6, 6, 1}, 5, kNoCapacity},  // experts 2 and 5 have no token
                                         {{4, 3, 3}, 33, kNoCapacity},
                                         {{5, 4, 2}, 6, kNoCapacity},  // rows that begin on 8 bytes
                                         {{9, 4, 2}, 0, kNoCapacity},
                                         {{9, 4, 2}, 7, 3},
                                         {{9, 4, 2}, 7, 0}}) {
    add_gather(cases, r, dim, capacity, some_experts(r));
    add_combine(cases, r, dim, capacity, some_experts(r));
  }
  const Routing one{5, 3, 1};  // all tokens to the last expert
  add_gather(cases, one, 4, kNoCapacity, {2, 2, 2, 2, 2});
  add_combine(cases, one, 4, kNoCapacity, {2, 2, 2, 2, 2});
  add_gather(cases, typical, width, kNoCapacity, some_experts(typical),
             Cost{.bytes = float_bytes(x + rows), .backward_bytes = float_bytes(2 * x + rows)});
  add_combine(cases, typical, width, kNoCapacity, some_experts(typical),
              Cost{.bytes = float_bytes(x + rows), .backward_bytes = float_bytes(x + 3 * rows)});

  for (const double p : {0.0, 0.3}) {
    add_add_combine(cases, {0, 4, 2}, 3, kNoCapacity, p);
    add_add_combine(cases, {4, 3, 3}, 33, kNoCapacity, p);
    add_add_combine(cases, {9, 4, 2}, 7, 3, p);
  }
  add_add_combine(cases, typical, width, kNoCapacity, 0.1,
                  Cost{.bytes = float_bytes(2 * x + rows), .backward_bytes = float_bytes(3 * x + 3 * rows)});
}

}  // namespace moe::test
