#!/usr/bin/env bash
# Installs what is missing, builds, obtains a text and trains on it.
#
#   scripts/train.sh [TEXT] [OPTION...]     options of ./train_moe, see ./train_moe --help
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
text=$root/input.txt
if [[ -f ${1-} ]]; then
  text=$(realpath "$1")
  shift
fi
cd "$root"

scripts/install_dependencies.sh
cmake --preset release
cmake --build --preset release --target train_moe generate
[[ $text != "$root/input.txt" ]] || scripts/get_text.sh
exec ./train_moe "$text" "$@"
