#!/usr/bin/env bash
# Installs what is missing, builds and runs everything that must pass before a change
# lands: the tests, the same tests under sanitizers, the checks of sources and documents, the installed package.
# All of it are tests of one ctest run (cmake/checks.cmake), whose closing lines come last.
#
#   scripts/test.sh [OPTION...]     options of ctest, as in: scripts/test.sh -L check
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install_dependencies.sh --lint
# The warnings of GCC 12 are errors. Other compilers warn of other things, and some see faults that are not there.
werror=OFF
[[ $(c++ -dumpversion) != 12* ]] || werror=ON
cmake --preset check -DMOE_WERROR=$werror
cmake --build --preset check
ctest --preset check --parallel "$(nproc)" "$@"
