#!/usr/bin/env bash
# Do the tests pass under AddressSanitizer and UndefinedBehaviorSanitizer? Leaves out those labelled `slow`.
set -euo pipefail
cd "$(dirname "$0")/.."

cmake --preset asan
cmake --build --preset asan
ctest --preset asan --label-exclude slow --parallel "$(nproc)"
