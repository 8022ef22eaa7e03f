#!/usr/bin/env bash
# How much faster than PyTorch? Installs it from PyPI into a virtual environment in the build folder (about 5 GB with
# the libraries that its package wants, a few minutes the first time), proves that both twins compute what the original
# computes, times them and this program in turns, and prints the ratios. bench/torch/compare.py says how.
#
#   scripts/compare_torch.sh [--rounds 5] [--steps 20] [--threads N] [--compile]
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install_dependencies.sh
cmake --preset release
cmake --build --preset release --target bench_step train_moe generate

scripts/make_venv.sh build/torch-venv -r bench/torch/requirements.txt
build/torch-venv/bin/python bench/torch/compare.py "$@"
