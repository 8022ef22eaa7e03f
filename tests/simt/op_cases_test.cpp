// Every case of every operation on Device::cuda, which is the executor here: against plain loops, against the
// double path, against the CPU, and against itself under every schedule.

#include <cstring>

#include "tests/catch.h"
#include "tests/op_run.h"
#include "tests/simt/schedules.h"

namespace moe::test {
namespace {

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// These move data and compute nothing.
bool only_moves(const OpCase& c) {
  return c.op == "embedding" || c.op == "gather";
}

void check_case(const OpCase& c) {
  const std::vector<double> reference = c.reference(values_of<double>(c));
  const double forward = forward_tolerance(c, reference).f32;
  const auto cpu = run_case<float>(c);
  const auto exact = run_case<double>(c);
  const std::vector<double> backward = gradient_tolerance(c, exact);

  const auto cuda = run_case<float>(c, {.device = Device::cuda});
  CHECK(difference(cuda.y, reference) <= forward);
  CHECK(difference(cuda.y, cpu.y) <= 2 * forward);  // both err
  if (only_moves(c)) CHECK(same_bits(cuda.y, cpu.y));
  REQUIRE(cuda.gradient.size() == exact.gradient.size());
  for (size_t i = 0; i < exact.gradient.size(); ++i) {
    INFO("gradient of " << c.inputs[i].name);
    CHECK(difference(cuda.gradient[i], exact.gradient[i]) <= backward[i]);
    CHECK(difference(cuda.gradient[i], cpu.gradient[i]) <= 2 * backward[i]);
  }
  under_all_schedules(c.benchmark ? 1 : 2, [&] {
    const auto again = run_case<float>(c, {.device = Device::cuda});
    CHECK(same_bits(again.y, cuda.y));
    for (size_t i = 0; i < cuda.gradient.size(); ++i) {
      INFO("gradient of " << c.inputs[i].name);
      CHECK(same_bits(again.gradient[i], cuda.gradient[i]));
    }
  });
}

}  // namespace

TEST_CASE("every operation computes on the GPU what it should", "[simt][op]") {
  for (const OpCase& c : op_cases()) DYNAMIC_SECTION(c.name()) {
      check_case(c);
    }
}

}  // namespace moe::test
