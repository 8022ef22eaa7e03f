#!/usr/bin/env bash
# Do Hugging Face's libraries read what this program writes? Builds, installs `tokenizers`, `safetensors` and numpy
# from PyPI into a virtual environment in the build folder, and compares (tests/huggingface/compare.py).
#
#   scripts/test_huggingface.sh [TEXT]     TEXT: what scripts/get_text.sh obtains
#
# docs/tokenizers.md has the result.
set -euo pipefail
text=${1:+$(realpath "$1")}
cd "$(dirname "$0")/.."

scripts/install_dependencies.sh
cmake --preset release
cmake --build --preset release --target train_moe tokenize
text=${text:-$PWD/input.txt}
[[ $text != "$PWD/input.txt" ]] || scripts/get_text.sh "$text"

scripts/make_venv.sh build/huggingface tokenizers==0.23.3 safetensors==0.8.0 numpy
exec build/huggingface/bin/python tests/huggingface/compare.py --tools build/tests/huggingface --train ./train_moe --text "$text"
