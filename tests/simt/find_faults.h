#pragma once
// For tests that plant a fault in a kernel: each kernel is there twice, with the fault and, as `right`,
// without.

#include <algorithm>
#include <string>
#include <vector>

#include "tests/catch.h"
#include "tests/simt/executor/fault.h"
#include "tests/simt/kernel_run.h"

namespace moe::test {

using simt::FaultKind;

// Takes all faults: whether one is of this kind. One mistake may show as several.
inline bool found(FaultKind kind) {
  const std::vector<simt::Fault> faults = simt::take_faults();
  return std::ranges::any_of(faults, [&](const simt::Fault& f) { return f.kind == kind; });
}

// Runs both forms over x = 0, 1, .. and y, both of 64 elements: the faulty one must be found, the right one
// has none.
template <auto faulty, auto right>
void check_finds(FaultKind kind, const gpu::LaunchConfig& config) {
  Buffer<int> x(64), y(64);
  for (int i = 0; i < 64; ++i) x[i] = y[i] = i;
  run<right>(config, x.data(), y.data());
  CHECK(simt::take_faults().empty());
  run<faulty>(config, x.data(), y.data());
  CHECK(found(kind));
}

#define CHECK_FINDS(kind, kernel, ...) check_finds<kernel<false>, kernel<true>>(kind, {__VA_ARGS__})

}  // namespace moe::test
