#!/usr/bin/env bash
# Makes a Python virtual environment, or completes one.
#
#   scripts/make_venv.sh FOLDER [what `pip install` takes: packages, -r FILE]
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$1
shift
command -v python3 > /dev/null && python3 -c 'import ensurepip, venv' 2> /dev/null ||
  scripts/install_dependencies.sh --only python3 python3-venv
[[ -x $folder/bin/python ]] || python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
