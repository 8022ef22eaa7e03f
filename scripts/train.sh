#!/usr/bin/env bash
# Installs what is missing, builds, obtains a text and trains on it.
#
#   scripts/train.sh [TEXT] [OPTION...]     options of ./train_moe, see ./train_moe --help
#
# Names of files and folders, as of --out, are those of the folder it is called from.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
text=$root/input.txt
if [[ -n ${1-} && $1 != -* ]]; then
  text=$1
  shift
  if [[ ! -e $text || -d $text ]]; then
    echo "train.sh: $text: there is no such file; the text comes first, then options" >&2
    exit 3
  fi
fi

(
  cd "$root"
  scripts/install_dependencies.sh
  cmake --preset release
  cmake --build --preset release --target train_moe generate
)
[[ $text != "$root/input.txt" ]] || "$root/scripts/get_text.sh"
exec "$root/train_moe" "$text" "$@"
