// What routing must do beyond its formulas: ties, NaN, drops and bad input.

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

#include "core/parallel.h"
#include "kernels/random.h"
#include "tests/routing_fixture.h"

using namespace moe;
using namespace moe::test;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr RngAddress kRng{.seed = 4, .step = 9, .stream = 2};

// Assignments spread over `experts` as a hash would.
std::vector<int32_t> scattered(int64_t n, uint32_t experts) {
  std::vector<int32_t> expert;
  for (int64_t a = 0; a < n; ++a)
    expert.push_back(static_cast<int32_t>(random_u32(kRng, static_cast<uint64_t>(a)) % experts));
  return expert;
}

}  // namespace

// --- gating ---

TEST_CASE("experts come in order of falling logit, equal ones by rising number", "[gating]") {
  Bench b;
  const auto chosen = [&](const std::vector<double>& logits, int64_t k) {
    const Var row = b.var(logits, {1, static_cast<int64_t>(logits.size())});
    return b.list<int32_t>(topk_gating(b.tape, row, k, GateSoftmax::selected).expert);
  };
  CHECK(chosen({0, 3, 1, 2}, 3) == std::vector<int32_t>{1, 3, 2});
  CHECK(chosen({1, 1, 1, 1}, 3) == std::vector<int32_t>{0, 1, 2});
  CHECK(chosen({0, 2, 1, 2, 1}, 4) == std::vector<int32_t>{1, 3, 2, 4});
  CHECK(chosen({-0.0, 0.0, -1, 0.0}, 2) == std::vector<int32_t>{0, 1});
  CHECK(chosen({-kInf, 5, -kInf}, 2) == std::vector<int32_t>{1, 0});
}

TEST_CASE("NaN logits still give k different experts, and lose against numbers", "[gating]") {
  Bench b;
  const Var logits = b.var({kNan, 1, kNan, 2,          //
                            kNan, kNan, kNan, kNan,    //
                            kInf, kNan, -kInf, kNan},  //
                           {3, 4});
  for (const GateSoftmax softmax : {GateSoftmax::selected, GateSoftmax::all}) {
    const Gating g = topk_gating(b.tape, logits, 3, softmax);
    const auto expert = b.list<int32_t>(g.expert);
    CHECK(expert[0] == 3);
    CHECK(expert[1] == 1);
    CHECK(expert[6] == 0);
    for (size_t n = 0; n < 3; ++n) {
      const std::set<int32_t> row(expert.begin() + 3 * n, expert.begin() + 3 * n + 3);
      CHECK(row.size() == 3);
      CHECK(*row.begin() >= 0);
      CHECK(*row.rbegin() < 4);
    }
    const auto gate = b.list<double>(g.gate.value());
    CHECK(gate[0] + gate[1] == Approx(1));
    CHECK(std::isnan(gate[3]));  // nothing to choose from: the run must notice
  }
}

TEST_CASE("drawn noise is normal n*E + e of its stream, whoever asks and however often", "[gating]") {
  Bench b;
  const int64_t N = 200, E = 7, k = 2;  // several tasks
  std::vector<double> logits, noise_logits, normals;
  for (uint64_t i = 0; i < static_cast<uint64_t>(N * E); ++i) {
    kernels::cpu::random_normals(kRng, i, 1, &normals.emplace_back());
    logits.push_back(random_normal({.seed = 1}, i));
    noise_logits.push_back(random_normal({.seed = 2}, i));
  }
  const Var l = b.var(logits, {N, E}), v = b.var(noise_logits, {N, E});
  const Noise drawn{.values = {}, .rng = kRng}, recorded{.values = b.var(normals, {N, E}).value(), .rng = {}};
  const auto outcome = [&](const Noise& noise) {
    const Gating g = noisy_topk_gating(b.tape, l, v, noise, k, GateSoftmax::all);
    return std::tuple(b.list<double>(g.gate.value()), b.list<int32_t>(g.expert),
                      b.number(load_loss(b.tape, l, v, noise, k)));
  };
  CHECK(outcome(drawn) == outcome(recorded));
  CHECK(outcome(drawn) == outcome(drawn));
  Noise next_step = drawn;
  ++next_step.rng.step;
  CHECK(std::get<1>(outcome(next_step)) != std::get<1>(outcome(drawn)));
}

TEST_CASE("a token's gates do not depend on the tokens before it when there is no noise", "[gating]") {
  Bench b;
  std::vector<double> logits;
  for (uint64_t i = 0; i < 150 * 6; ++i) logits.push_back(random_normal(kRng, i));
  const Var all = b.var(logits, {150, 6});
  const auto together = b.list<double>(topk_gating(b.tape, all, 2, GateSoftmax::selected).gate.value());
  for (int64_t n = 0; n < 150; n += 37) {
    const Var one = Var::constant(all.value().rows(n, n + 1), "test");
    const auto alone = b.list<double>(topk_gating(b.tape, one, 2, GateSoftmax::selected).gate.value());
    CHECK(std::equal(alone.begin(), alone.end(), together.begin() + 2 * n));
  }
}

TEST_CASE("softmax over the two selected logits is the full softmax renormalised", "[gating]") {
  Bench b;
  const Var logits = b.var({0.3, -1, 2, 0.7, 1.1}, {1, 5});
  const auto selected = b.list<double>(topk_gating(b.tape, logits, 2, GateSoftmax::selected).gate.value());
  const auto all = b.list<double>(topk_gating(b.tape, logits, 2, GateSoftmax::all).gate.value());
  CHECK(selected[0] == Approx(all[0] / (all[0] + all[1])));
  CHECK(all[0] + all[1] < 0.95);  // not renormalised
}

// --- dispatch_plan ---

namespace {

// Checks a plan against its definition.
void check_plan(const DispatchPlan& plan, const std::vector<int32_t>& expert, int64_t capacity) {
  const auto offsets = Bench::list<int32_t>(plan.offsets), assignment = Bench::list<int32_t>(plan.assignment),
             row = Bench::list<int32_t>(plan.row), count = Bench::list<int32_t>(plan.count);
  const auto E = static_cast<size_t>(plan.experts);
  REQUIRE(offsets.size() == E + 1);
  REQUIRE(assignment.size() == expert.size());
  REQUIRE(row.size() == expert.size());
  std::vector<int32_t> expected;  // row -> assignment
  CHECK(offsets[0] == 0);
  for (size_t e = 0; e < E; ++e) {
    int32_t seen = 0;
    for (size_t a = 0; a < expert.size(); ++a) {
      if (expert[a] != static_cast<int32_t>(e)) continue;
      const bool kept = capacity == kNoCapacity || seen < capacity;
      if (row[a] != (kept ? static_cast<int32_t>(expected.size()) : -1)) FAIL("row of assignment " << a);
      if (kept) expected.push_back(static_cast<int32_t>(a));
      ++seen;
    }
    CHECK(count[e] == seen);
    CHECK(offsets[e + 1] == static_cast<int32_t>(expected.size()));
  }
  expected.resize(expert.size(), -1);
  CHECK(assignment == expected);
  CHECK(std::accumulate(count.begin(), count.end(), int64_t{0}) == plan.tokens * plan.topk);
}

}  // namespace

TEST_CASE("a plan sorts assignments by expert, stably, and its counts sum to k*N", "[dispatch_plan]") {
  Bench b;
  struct Case {
    int64_t tokens, topk;
    uint32_t experts;
  };
  // The last one has several blocks.
  for (const Case& c : {Case{0, 2, 4}, {1, 1, 1}, {7, 2, 3}, {3, 1, 9}, {15, 4, 4}, {9001, 2, 5}}) {
    const auto expert = scattered(c.tokens * c.topk, c.experts);
    for (const int64_t capacity : {kNoCapacity, int64_t{0}, int64_t{1}, int64_t{3}, int64_t{2000}}) {
      INFO(c.tokens << " tokens, capacity " << capacity);
      const Tensor ids = b.ids(expert, {c.tokens, c.topk});
      check_plan(dispatch_plan(b.tape, ids, c.experts, capacity), expert, capacity);
    }
  }
}

TEST_CASE("a capacity keeps exactly each expert's first assignments in flat order", "[dispatch_plan]") {
  Bench b;
  // Token 0: experts 1, 0; token 1: 1, 2; token 2: 1, 0; token 3: 0, 1.
  const Tensor ids = b.ids({1, 0, 1, 2, 1, 0, 0, 1}, {4, 2});
  const DispatchPlan plan = dispatch_plan(b.tape, ids, 4, 2);
  CHECK(b.list<int32_t>(plan.offsets) == std::vector<int32_t>{0, 2, 4, 5, 5});
  CHECK(b.list<int32_t>(plan.assignment) == std::vector<int32_t>{1, 5, 0, 2, 3, -1, -1, -1});
  CHECK(b.list<int32_t>(plan.row) == std::vector<int32_t>{2, 0, 3, 4, -1, 1, -1, -1});
  CHECK(b.list<int32_t>(plan.count) == std::vector<int32_t>{3, 4, 1, 0});
}

TEST_CASE("a plan is the same bits for any number of threads", "[dispatch_plan][threads]") {
  Bench b;
  const Tensor ids = b.ids(scattered(60000, 16), {30000, 2});
  const auto plan = [&](int threads) {
    set_threads(threads);
    const DispatchPlan p = dispatch_plan(b.tape, ids, 16, 3500);
    set_threads(0);
    return std::tuple(b.list<int32_t>(p.offsets), b.list<int32_t>(p.assignment), b.list<int32_t>(p.row),
                      b.list<int32_t>(p.count));
  };
  const auto one = plan(1);
  CHECK(plan(2) == one);
  CHECK(plan(3) == one);
}

TEST_CASE("an expert that does not exist is an error wherever ids come in", "[dispatch_plan]") {
  Bench b;
  const Var gate = b.var({1, 1}, {2, 1}), logits = b.var({0, 0, 0, 0, 0, 0}, {2, 3});
  for (const int32_t bad :
       {-1, 3, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()}) {
    const Tensor ids = b.ids({0, bad}, {2, 1});
    check_throws([&] { dispatch_plan(b.tape, ids, 3); }, "must be in [0, 3), got " + std::to_string(bad));
    check_throws([&] { importance_loss(b.tape, {gate, ids}, 3); }, "must be in [0, 3)");
    check_throws([&] { balance_loss(b.tape, logits, ids); }, "must be in [0, 3)");
  }
  check_throws([&] { dispatch_plan(b.tape, b.ids({0, 0}, {2, 1}), 0); }, "experts must be at least 1");
  check_throws([&] { dispatch_plan(b.tape, b.ids({0, 0}, {2, 1}), 3, -2); }, "capacity must not be negative");
}

TEST_CASE("routing operations name the tensor that does not fit", "[gating]") {
  Bench b;
  const Var logits = b.var({1, 2, 3, 4, 5, 6}, {2, 3}), other = b.var({1, 2}, {2, 1});
  const Noise rng{.values = {}, .rng = kRng};
  const auto selected = GateSoftmax::selected;
  check_throws([&] { topk_gating(b.tape, logits, 4, selected); }, "gating: k must be in [1, 3], got 4");
  check_throws([&] { topk_gating(b.tape, logits, 0, selected); }, "gating: k must be in [1, 3], got 0");
  check_throws([&] { noisy_topk_gating(b.tape, logits, {}, rng, 1, selected); }, "noise_logits");
  check_throws([&] { noisy_topk_gating(b.tape, logits, other, rng, 1, selected); },
               "gating: noise_logits must be [2, 3], got [2, 1]");
  const Noise narrow{.values = other.value(), .rng = {}};
  check_throws([&] { noisy_topk_gating(b.tape, logits, logits, narrow, 1, selected); },
               "gating: noise must be f64 [2, 3], got f64 [2, 1]");
  check_throws([&] { load_loss(b.tape, logits, logits, narrow, 1); }, "load_loss: noise must be f64 [2, 3]");
  check_throws([&] { load_loss(b.tape, logits, {}, rng, 1); }, "load_loss: needs the noise_logits");
  const DispatchPlan plan = dispatch_plan(b.tape, b.ids({0, 1, 1, 0}, {2, 2}), 2);
  check_throws(
      [&] {
        gather(b.tape, b.var({1, 2, 3}, {3, 1}), plan);
      },
      "gather: x must be [2, C], got [3, 1]");
  check_throws([&] { combine(b.tape, logits, other, plan); }, "combine: rows must be [4, C], got [2, 3]");
  check_throws(
      [&] {
        combine(b.tape, b.var({1, 2, 3, 4}, {4, 1}), other, plan);
      },
      "combine: gate must be [2, 2], got [2, 1]");
}

TEST_CASE("combine undoes gather when the gates sum to one", "[combine]") {
  Bench b;
  const Var x = b.var({1, 2, 3, 4, 5, 6}, {3, 2});
  const DispatchPlan plan = dispatch_plan(b.tape, b.ids({2, 0, 0, 1, 2, 1}, {3, 2}), 3);
  const Var gate = b.var({0.25, 0.75, 0.5, 0.5, 1, 0}, {3, 2});
  CHECK(b.list<double>(combine(b.tape, gather(b.tape, x, plan), gate, plan).value()) ==
        std::vector<double>{1, 2, 3, 4, 5, 6});
}
