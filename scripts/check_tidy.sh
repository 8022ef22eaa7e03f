#!/usr/bin/env bash
# Does clang-tidy (.clang-tidy) find nothing in the sources of a build folder? Version 14, since others find other
# things; without it the check is skipped (77).
#
#   scripts/check_tidy.sh [BUILD_FOLDER [SOURCE...]]
set -euo pipefail
cd "$(dirname "$0")/.."

build=${1:-build}
shift || true
if [[ $(clang-tidy --version 2> /dev/null || true) != *"version 14."* ]]; then
  echo "clang-tidy 14 is not here: skipped"
  exit 77
fi
if (($#)); then
  sources=("$@")
else
  mapfile -t sources < <(sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' "$build/compile_commands.json" |
    grep '\.cpp$' | sort -u)
fi
if ((${#sources[@]} == 0)); then
  echo "$build/compile_commands.json names no source" >&2
  exit 1
fi
printf '%s\0' "${sources[@]}" |
  xargs -0 -n 1 -P "$(nproc)" clang-tidy -p "$build" --quiet --warnings-as-errors='*' \
    --extra-arg=-Wno-unknown-warning-option 2> >(grep -v 'warnings generated' >&2)
