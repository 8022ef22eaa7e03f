#!/usr/bin/env bash
# Fetches NVIDIA's cuobjdump and nvdisasm from PyPI, where the toolkit that is installed lacks them.
#
#   scripts/get_cuda_disassembler.sh FOLDER      the programs come to FOLDER/bin, about 7 MiB
#
# Leaves with 1, and a line that says why, when they cannot be had.
set -euo pipefail

(($# == 1)) || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
folder=$1
[[ ! -x $folder/bin/cuobjdump ]] || exit 0

if ! "$(dirname "$0")/get_wheels.sh" "$folder" bin 'nvidia-cuda-cuobjdump==13.*' 'nvidia-cuda-nvdisasm==13.*'; then
  echo "cuobjdump could not be fetched: pip found no network or no such package" >&2
  exit 1
fi
chmod +x "$folder"/bin/*
[[ -x $folder/bin/cuobjdump && -x $folder/bin/nvdisasm ]]
