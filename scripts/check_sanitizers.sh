#!/usr/bin/env bash
# Do the tests pass under AddressSanitizer and UndefinedBehaviorSanitizer, those of CUDA kernels among them? Some are
# left out that call what others do, many times.
#
#   scripts/check_sanitizers.sh             all but those
#   scripts/check_sanitizers.sh --kernels   all of the CUDA kernels alone
set -euo pipefail
cd "$(dirname "$0")/.."

cmake --preset asan
if [[ ${1-} == --kernels ]]; then
  cmake --build --preset asan --target moe_simt_tests
  exec ctest --preset asan --tests-regex '^simt' --parallel "$(nproc)"
fi
cmake --build --preset asan
called_often='any gradient of any operation is falsified|^gradients in double are what finite differences say$'
called_often+='|^finite differences confirm the whole model|^simt:in .* results are the same bits|^simt:train_moe '
called_often+='|^simt:(an evaluation|a steady step|a step of the default model|a host that is far ahead|another attempt)'
called_often+='|^simt:(a run that always diverges|training in tf32)'
ctest --preset asan --parallel "$(nproc)" --exclude-regex "$called_often"
