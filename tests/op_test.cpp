// What must be true of every operation, over all cases.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "core/parallel.h"
#include "tests/catch.h"
#include "tests/op_run.h"
#include "tests/same_bits.h"

namespace moe::test {
namespace {

// Runs `check` for each case that `applies` in a section of its own, so that each one that fails is named.
template <class Applies, class Check>
void for_each_case(Applies applies, Check check) {
  for (const OpCase& c : op_cases())
    if (applies(c)) DYNAMIC_SECTION(c.name()) {
        check(c);
      }
}

bool any(const OpCase&) {
  return true;
}
bool trains(const OpCase& c) {
  return c.mode == Mode::train;
}
bool small_and_trains(const OpCase& c) {
  return trains(c) && !c.benchmark;
}

struct ThreadCount {
  explicit ThreadCount(int n) { set_threads(n); }
  ~ThreadCount() { set_threads(0); }
};

std::vector<std::string> declared_ops() {
  std::istringstream in(MOE_OPS);
  return {std::istream_iterator<std::string>(in), {}};
}

// All tests' text but for the list that names the tags.
std::string test_sources() {
  std::ostringstream text;
  for (const auto& file :
       std::filesystem::directory_iterator(std::filesystem::path(MOE_SOURCE_DIR) / "tests"))
    if (file.path().extension() == ".cpp" && file.path().filename() != "op_cases.cpp")
      text << std::ifstream(file.path()).rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("every operation has cases, a benchmark among them, or tests of its own", "[op]") {
  const std::string sources = test_sources();
  for (const std::string& op : declared_ops()) {
    DYNAMIC_SECTION(op) {
      const auto own = std::ranges::find(ops_without_gradient(), op, &OpWithoutGradient::op);
      if (own != ops_without_gradient().end()) {
        INFO("no test in tests/*.cpp carries the tag " << own->tag);
        CHECK(sources.find(own->tag) != std::string::npos);
        continue;
      }
      const auto has = [&](auto property) {
        return std::ranges::any_of(op_cases(), [&](const OpCase& c) { return c.op == op && property(c); });
      };
      CHECK(has(small_and_trains));
      CHECK(has([](const OpCase& c) { return c.benchmark.has_value(); }));
    }
  }
}

TEST_CASE("every case belongs to a declared operation and has a name of its own", "[op]") {
  const std::vector<std::string> ops = declared_ops();
  std::set<std::string> names;
  for (const OpCase& c : op_cases()) {
    INFO(c.name());
    CHECK(std::ranges::find(ops, c.op) != ops.end());
    CHECK(names.insert(c.name()).second);
  }
}

TEST_CASE("the tape records each operation under its own name", "[op]") {
  for_each_case(small_and_trains, [](const OpCase& c) {
    Arena arena(Device::meta);
    Tape tape(arena, Mode::train);
    std::set<std::string> recorded;
    tape.intercept([&](const Tape::Step& step) {
      recorded.insert(step.op);
      step.run(step.dy);
    });
    const std::vector<Parameter> parameters = parameters_of(c, DType::f32, Device::meta);
    const Var y = c.build(tape, variables_of(parameters));
    if (!y.grad().needed()) return;
    tape.backward(y);
    // The name of a pointwise function stands first in the label.
    CHECK(recorded.contains(c.op == "pointwise" ? c.label.substr(0, c.label.find(' ')) : c.op));
  });
}

TEST_CASE("forward in double gives what plain loops give", "[op]") {
  for_each_case(any, [](const OpCase& c) {
    const std::vector<double> reference = c.reference(values_of<double>(c));
    const Tolerance tolerance = forward_tolerance(c, reference);
    CHECK(difference(run_case<double>(c).y, reference) <= tolerance.f64);
  });
}

TEST_CASE("forward in float errs at most twice as much as plain loops in float", "[op]") {
  for_each_case(any, [](const OpCase& c) {
    const std::vector<double> reference = c.reference(values_of<double>(c));
    const Tolerance tolerance = forward_tolerance(c, reference);
    CHECK(difference(run_case<float>(c).y, reference) <= tolerance.f32);
  });
}

TEST_CASE("gradients in double are what finite differences say", "[op]") {
  for_each_case(small_and_trains, [](const OpCase& c) {
    const GradcheckResult result = gradcheck(c.build, parameters_of(c, DType::f64), gradcheck_options(c));
    INFO(result.str());
    CHECK(result.ok);
  });
}

TEST_CASE("gradients in float are those in double up to rounding", "[op]") {
  for_each_case(trains, [](const OpCase& c) {
    const auto exact = run_case<double>(c);
    const std::vector<double> tolerance = gradient_tolerance(c, exact);
    const auto rounded = run_case<float>(c);
    REQUIRE(rounded.gradient.size() == exact.gradient.size());
    for (size_t i = 0; i < exact.gradient.size(); ++i) {
      INFO("input " << c.inputs[i].name);
      CHECK(difference(rounded.gradient[i], exact.gradient[i]) <= tolerance[i]);
    }
  });
}

TEST_CASE("backward adds to what a gradient already holds", "[op]") {
  constexpr double kPrefill = 3;
  for_each_case(small_and_trains, [](const OpCase& c) {
    const auto plain = run_case<double>(c), added = run_case<double>(c, {.prefill = kPrefill});
    for (size_t i = 0; i < plain.gradient.size(); ++i) {
      INFO("input " << c.inputs[i].name);
      std::vector<double> expected = plain.gradient[i];
      for (double& v : expected) v += kPrefill;
      // Terms may be added in another order, one by one to the old value.
      CHECK(difference(added.gradient[i], expected) <= 1e-12 * (kPrefill + largest(plain.gradient[i])));
    }
  });
}

TEST_CASE("a gradient that is written is the one that is added to zeros", "[op]") {
  for_each_case(trains, [](const OpCase& c) {
    const auto added = run_case<float>(c), written = run_case<float>(c, {.inputs_on_tape = true});
    for (size_t i = 0; i < added.gradient.size(); ++i) {
      INFO("input " << c.inputs[i].name);
      CHECK(difference(written.gradient[i], added.gradient[i]) == 0);
    }
  });
}

TEST_CASE("results are the same bits on every run and for any number of threads", "[op][threads]") {
  for_each_case(any, [](const OpCase& c) {
    const auto first = run_case<float>(c);
    for (const int threads : {0, 1, 2, 3}) {
      INFO(threads << " threads, 0: the default");
      const ThreadCount count(threads);
      const auto again = run_case<float>(c);
      CHECK(same_bits(again.y, first.y));
      for (size_t i = 0; i < first.gradient.size(); ++i) {
        INFO("gradient of " << c.inputs[i].name);
        CHECK(same_bits(again.gradient[i], first.gradient[i]));
      }
    }
  });
}

TEST_CASE("the meta device gives the shapes and the memory of a real run", "[op]") {
  for_each_case(any, [](const OpCase& c) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Plan meta = plan_case(c, dtype, Device::meta);
      const Plan real = plan_case(c, dtype, Device::cpu, meta.peak_bytes);
      CHECK(meta.shape == real.shape);
      CHECK(meta.peak_bytes == real.peak_bytes);
      CHECK(real.reserved_bytes == meta.peak_bytes);  // and nothing more was asked of the system
    }
  });
}

TEST_CASE("inference records nothing", "[op]") {
  for_each_case(any, [](const OpCase& c) {
    Arena arena(Device::cpu);
    Tape tape(arena, Mode::infer);
    tape.intercept([](const Tape::Step&) { FAIL("a step of backward ran"); });
    const std::vector<Parameter> parameters = parameters_of(c, DType::f32);
    const std::vector<Var> variables = variables_of(parameters);
    const Var y = c.build(tape, variables);
    // An operation that does nothing in inference (dropout) may return its input.
    const auto is_y = [&](const Var& v) { return v.value().bytes_begin() == y.value().bytes_begin(); };
    if (std::ranges::none_of(variables, is_y)) CHECK_FALSE(y.grad().needed());
    // All that is left in the arena is the result: no closure keeps anything.
    const int64_t result = (y.value().nbytes() + 63) / 64 * 64;
    CHECK(arena.bytes_in_use() <= std::max<int64_t>(result, 64));
  });
}

}  // namespace moe::test
