#pragma once
// The cases of all operations on Device::cuda.

#include "tests/catch.h"
#include "tests/cuda/device_test.h"
#include "tests/cuda/test_options.h"
#include "tests/op_run.h"

namespace moe::test {

inline Outcome<float> run_on_cuda(const OpCase& c) {
  return run_case<float>(c, {.device = Device::cuda});
}

template <class Check>
void for_each_case(Check check) {
  for (const OpCase& c : op_cases()) {
    if (!test_options().op.empty() && c.op != test_options().op) continue;
    if (c.benchmark && !test_options().benchmark_cases) continue;
    DYNAMIC_SECTION(c.name()) {
      check(c);
    }
  }
}

}  // namespace moe::test
