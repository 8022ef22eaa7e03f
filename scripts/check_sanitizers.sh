#!/usr/bin/env bash
# Do the tests pass under AddressSanitizer and UndefinedBehaviorSanitizer? Leaves out one that calls what others do,
# hundreds of times.
#
#   scripts/check_sanitizers.sh             all but the CUDA kernels
#   scripts/check_sanitizers.sh --kernels   these alone, on the CPU (docs/executor.md)
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1-} == --kernels ]]; then
  cmake --preset asan -DMOE_SIMT=ON
  cmake --build --preset asan --target moe_simt_tests
  exec ctest --preset asan --tests-regex '^simt' --parallel "$(nproc)"
fi
cmake --preset asan -DMOE_SIMT=OFF
cmake --build --preset asan
ctest --preset asan --exclude-regex "any gradient of any operation is falsified" --parallel "$(nproc)"
