#!/usr/bin/env bash
# Fetches NVIDIA's headers from PyPI, for tests that run CUDA kernels on the CPU where no toolkit is installed.
#
#   scripts/get_cuda_headers.sh FOLDER      the headers come to FOLDER/include, about 40 MiB
#
# Leaves with 1, and a line that says why, when they cannot be had.
set -euo pipefail

(($# == 1)) || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
folder=$1
[[ ! -f $folder/include/cublas_v2.h ]] || exit 0

# The packages of one major version of CUDA.
if ! "$(dirname "$0")/get_wheels.sh" "$folder" include \
  'nvidia-cuda-runtime==13.*' 'nvidia-cuda-crt==13.*' 'nvidia-cuda-cccl==13.*' 'nvidia-cublas==13.*'; then
  echo "CUDA's headers could not be fetched: pip found no network or no such package" >&2
  exit 1
fi
[[ -f $folder/include/cublas_v2.h && -f $folder/include/cuda_runtime.h ]]
