// Every case of every operation on Device::cuda: against plain loops, the double path and the CPU. Runs on a
// GPU and on the executor of tests/simt/ alike.

#include "tests/cuda/device_cases.h"
#include "tests/same_bits.h"

namespace moe::test {
namespace {

// These move data and compute nothing.
bool only_moves(const OpCase& c) {
  return c.op == "embedding" || c.op == "gather";
}

}  // namespace

// The CPU errs as well, hence twice the tolerance against it.
TEST_CASE("forward on the GPU gives what plain loops and the CPU give", "[cuda][op]") {
  for_each_case([](const OpCase& c) {
    const std::vector<double> reference = c.reference(values_of<double>(c));
    const double tolerance = forward_tolerance(c, reference).f32;
    const auto cuda = run_on_cuda(c), cpu = run_case<float>(c);
    CHECK(difference(cuda.y, reference) <= tolerance);
    CHECK(difference(cuda.y, cpu.y) <= 2 * tolerance);
    if (only_moves(c)) CHECK(same_bits(cuda.y, cpu.y));
  });
}

TEST_CASE("gradients on the GPU are those in double and on the CPU", "[cuda][op]") {
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

TEST_CASE("backward on the GPU adds to what a gradient already holds", "[cuda][op]") {
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

TEST_CASE("a gradient that is written on the GPU is the one that is added to zeros", "[cuda][op]") {
  for_each_case([](const OpCase& c) {
    if (c.benchmark || c.mode == Mode::infer) return;
    const auto added = run_on_cuda(c);
    const auto written = run_case<float>(c, {.device = Device::cuda, .inputs_on_tape = true});
    for (size_t i = 0; i < added.gradient.size(); ++i) {
      INFO("input " << c.inputs[i].name);
      CHECK(difference(written.gradient[i], added.gradient[i]) == 0);
    }
  });
}

}  // namespace moe::test
