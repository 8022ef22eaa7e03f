// Every case of every operation on Device::cuda, which is the executor here: against plain loops, against the
// double path, against the CPU, and against itself under every schedule.

#include "tests/catch.h"
#include "tests/cuda/device_test.h"
#include "tests/op_run.h"
#include "tests/same_bits.h"
#include "tests/simt/chosen_op.h"
#include "tests/simt/schedules.h"

namespace moe::test {
namespace {

Outcome<float> run_on_cuda(const OpCase& c) {
  return run_case<float>(c, {.device = Device::cuda});
}

// These move data and compute nothing.
bool only_moves(const OpCase& c) {
  return c.op == "embedding" || c.op == "gather";
}

template <class Check>
void for_each_case(Check check) {
  for (const OpCase& c : op_cases()) {
    if (!chosen_op().empty() && c.op != chosen_op()) continue;
    DYNAMIC_SECTION(c.name()) {
      check(c);
    }
  }
}

void check_schedules(const OpCase& c) {
  const auto first = run_on_cuda(c);
  under_all_schedules(c.benchmark ? 1 : 2, [&] {
    const auto again = run_on_cuda(c);
    CHECK(same_bits(again.y, first.y));
    for (size_t i = 0; i < first.gradient.size(); ++i) {
      INFO("gradient of " << c.inputs[i].name);
      CHECK(same_bits(again.gradient[i], first.gradient[i]));
    }
  });
}

// What has a way of its own on tensor cores.
void check_schedules_in(Precision precision) {
  const InPrecision computing(precision);
  for_each_case([](const OpCase& c) {
    if (c.op == "attention" || c.op == "grouped_linear") check_schedules(c);
  });
}

}  // namespace

// The CPU errs as well, hence twice the tolerance against it.
TEST_CASE("forward on the GPU gives what plain loops and the CPU give", "[simt][op]") {
  for_each_case([](const OpCase& c) {
    const std::vector<double> reference = c.reference(values_of<double>(c));
    const double tolerance = forward_tolerance(c, reference).f32;
    const auto cuda = run_on_cuda(c), cpu = run_case<float>(c);
    CHECK(difference(cuda.y, reference) <= tolerance);
    CHECK(difference(cuda.y, cpu.y) <= 2 * tolerance);
    if (only_moves(c)) CHECK(same_bits(cuda.y, cpu.y));
  });
}

TEST_CASE("gradients on the GPU are those in double and on the CPU", "[simt][op]") {
  for_each_case([](const OpCase& c) {
    const auto exact = run_case<double>(c);
    const std::vector<double> tolerance = gradient_tolerance(c, exact);
    const auto cuda = run_on_cuda(c), cpu = run_case<float>(c);
    REQUIRE(cuda.gradient.size() == exact.gradient.size());
    for (size_t i = 0; i < exact.gradient.size(); ++i) {
      INFO("input " << c.inputs[i].name);
      CHECK(difference(cuda.gradient[i], exact.gradient[i]) <= tolerance[i]);
      CHECK(difference(cuda.gradient[i], cpu.gradient[i]) <= 2 * tolerance[i]);
    }
  });
}

TEST_CASE("backward on the GPU adds to what a gradient already holds", "[simt][op]") {
  constexpr double kPrefill = 3;
  for_each_case([](const OpCase& c) {
    if (c.benchmark || c.mode == Mode::infer) return;
    const auto exact = run_case<double>(c, {.prefill = kPrefill});
    const auto cuda = run_case<float>(c, {.device = Device::cuda, .prefill = kPrefill});
    for (size_t i = 0; i < exact.gradient.size(); ++i) {
      INFO("input " << c.inputs[i].name);
      // Every term may round against the old value: enough to see whether that is there.
      CHECK(difference(cuda.gradient[i], exact.gradient[i]) <=
            1e-5 * (kPrefill + largest(exact.gradient[i])));
    }
  });
}

TEST_CASE("in whatever order threads and blocks run, results are the same bits", "[simt][op][schedules]") {
  for_each_case(check_schedules);
}

TEST_CASE("in tf32, results are the same bits in whatever order threads and blocks run",
          "[simt][op][schedules]") {
  check_schedules_in(Precision::tf32);
}

TEST_CASE("in bf16, results are the same bits in whatever order threads and blocks run",
          "[simt][op][schedules]") {
  check_schedules_in(Precision::bf16);
}

}  // namespace moe::test
