#!/usr/bin/env bash
# Does clang-tidy (.clang-tidy) find nothing in the sources? Version 14, since others find other things; without it the
# check is skipped (77). Sources that a build with MOE_UNITY compiles at once are looked at at once, which takes a third
# of the time; that each of them includes what it needs is seen where it is compiled alone.
#
#   scripts/check_tidy.sh [BUILD_FOLDER SOURCE...]     all sources, or these as this folder compiles them
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ $(clang-tidy --version 2> /dev/null || true) != *"version 14."* ]]; then
  echo "clang-tidy 14 is not here: skipped"
  exit 77
fi
if (($#)); then
  build=$1
  sources=("${@:2}")
else
  build=build-tidy
  cmake --preset tidy > /dev/null
  mapfile -t compiled < <(sed -n 's/^ *"file": "\(.*\.c[px][px]\)",\{0,1\}$/\1/p' "$build/compile_commands.json" | sort -u)
  mapfile -t together < <(printf '%s\n' "${compiled[@]}" | grep '/unity_[0-9]*_cxx\.cxx$')
  mapfile -t sources < <(printf '%s\n' "${compiled[@]}" |
    grep -vxFf <(sed -n 's/^#include "\(.*\)"$/\1/p' "${together[@]}"))
fi
if ((${#sources[@]} == 0)); then
  echo "$build/compile_commands.json names no source" >&2
  exit 1
fi
printf '%s\0' "${sources[@]}" |
  xargs -0 -n 1 -P "$(nproc)" clang-tidy -p "$build" --quiet --warnings-as-errors='*' \
    --extra-arg=-Wno-unknown-warning-option 2> >(grep -v 'warnings generated' >&2)
