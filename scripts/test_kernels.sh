#!/usr/bin/env bash
# Runs what the regular tests leave out for CUDA kernels on the CPU: the race detector under every schedule.
# Skipped (77) where the executor was not built; docs/executor.md says what it needs.
#
#   scripts/test_kernels.sh [BUILD_FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."

program=${1:-build}/tests/simt/moe_simt_race_tests
if [[ ! -x $program ]]; then
  echo "$program is not there: skipped"
  exit 77
fi
"$program" '[schedules]'
