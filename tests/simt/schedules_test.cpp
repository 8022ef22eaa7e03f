// Every small case of every operation on the executor, under every schedule.

#include "tests/simt/schedules.h"

#include "tests/cuda/device_cases.h"
#include "tests/same_bits.h"

namespace moe::test {
namespace {

void check_schedules(const OpCase& c) {
  if (c.benchmark) return;  // more of the same blocks
  const auto first = run_on_cuda(c);
  under_all_schedules(2, [&] {
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
