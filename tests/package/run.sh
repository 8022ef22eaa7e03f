#!/usr/bin/env bash
# Installs a build to a folder of its own and uses it from there as a stranger would: find_package(makemoe), and
# the program of docs/first-model.md, put together from the page.
#
#   tests/package/run.sh BUILD_FOLDER [CMAKE]
set -euo pipefail
cd "$(dirname "$0")/../.."

build=$1
cmake=${2:-cmake}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$cmake" --install "$build" --prefix "$work/prefix" > "$work/install.log"

mkdir "$work/project"
awk '/^```cpp$/ { inside = 1; next } /^```$/ { inside = 0 } inside' docs/first-model.md > "$work/project/main.cpp"
cp tests/package/CMakeLists.txt "$work/project"

flags="-Wall -Wextra"
! grep -q '^MOE_WERROR:BOOL=ON$' "$build/CMakeCache.txt" || flags+=" -Werror"
"$cmake" -S "$work/project" -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" \
  -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS="$flags"
"$cmake" --build "$work/build"

# The program checks itself (gradients, and that it has learned) and leaves with 0 only then.
"$work/build/first_model" | tee "$work/output"
awk '/^step/ { last = $NF; if (!seen++) first = $NF }
  END { if (seen < 2 || last > first / 10) { print "the loss did not fall to a tenth"; exit 1 } }' "$work/output"
