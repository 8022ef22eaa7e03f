#!/usr/bin/env bash
# The tests of runs that are killed, interrupted and let down by the disk, in earnest: what tests/crash_test.cpp does
# a few times in the regular tests, it does hundreds of times here. Takes minutes; docs/results holds what came out.
#
#   scripts/test_runs.sh
set -euo pipefail
cd "$(dirname "$0")/.."

cmake --preset release
cmake --build --preset release --target moe_tests
build/tests/moe_tests "[runs]" --durations yes
