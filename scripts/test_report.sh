#!/usr/bin/env bash
# Does report.html do in a browser what it promises? Installs headless Chromium if need be, trains for a moment,
# opens the page and looks: no console error, no request, the plots' numbers those of the run's files, hover,
# keys and layers at work. Not part of ctest, since Chromium is large.
#
#   scripts/test_report.sh [DIR...]     these runs instead of a new one; the first one's page is written anew
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install_dependencies.sh --only chromium python3 python3-websocket fonts-dejavu-core
scripts/install_dependencies.sh
cmake --preset release > /dev/null
cmake --build --preset release --target train_moe report

folders=()
for folder in "$@"; do folders+=("$(realpath "$folder")"); done
if ((${#folders[@]} == 0)); then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  scripts/get_text.sh > /dev/null
  ./train_moe input.txt --out "$work/run" --max-iters 200 --eval-interval 50 --eval-iters 2 --n-layer 3 \
    --num-experts 5 --capacity-factor 1 > /dev/null
  ./train_moe input.txt --out "$work/other" --max-iters 100 --eval-interval 50 --eval-iters 2 --n-layer 1 \
    > /dev/null
  folders=("$work/run" "$work/other")
fi
./report "${folders[@]}"
/usr/bin/python3 scripts/check_report.py "${folders[0]}"
