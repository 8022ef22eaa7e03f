#!/usr/bin/env bash
# Are all sources formatted as .clang-format says? `scripts/check_format.sh --fix` makes them so.
# Version 14, since others format differently; without it the check is skipped (77).
set -euo pipefail
cd "$(dirname "$0")/.."

formatter=$(command -v clang-format-14 || command -v clang-format || true)
if [[ -z $formatter || $("$formatter" --version) != *"version 14."* ]]; then
  echo "clang-format 14 is not here: skipped"
  exit 77
fi
how=(--dry-run --Werror)
[[ ${1-} != --fix ]] || how=(-i)
find core kernels autograd model apps tests bench \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) -print0 |
  xargs -0 "$formatter" "${how[@]}"
