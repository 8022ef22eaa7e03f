#!/usr/bin/env bash
# Does every CUDA kernel compile without a warning for each generation of GPU we mean to run on? Needs nvcc but
# no GPU. Skipped (77) where there is nothing to compile or no nvcc.
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t kernels < <(find kernels -name '*.cu' | sort)
if ((${#kernels[@]} == 0)); then
  echo "0 CUDA kernels to compile: skipped"
  exit 77
fi
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2> /dev/null || true)
if [[ -z $nvcc ]]; then
  echo "nvcc is not here, ${#kernels[@]} CUDA kernels not compiled: skipped"
  exit 77
fi

targets=()
known=$("$nvcc" --list-gpu-code)
for arch in 75 80 90 120; do
  if grep -qx "sm_$arch" <<< "$known"; then
    targets+=("-gencode=arch=compute_$arch,code=sm_$arch")
  else
    echo "this nvcc does not know sm_$arch: left out"
  fi
done

# The kernels side by side, one to a core. The objects are of no use, but a compiler cache needs them.
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
compile=("$nvcc" -std=c++20 -O3 -I. --Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Werror "${targets[@]}")
! command -v ccache > /dev/null || compile=(ccache "${compile[@]}")
export objects
printf '%s\0' "${kernels[@]}" |
  xargs -0 -n 1 -P "$(nproc)" bash -c '"${@:1:$#-1}" -c "${!#}" -o "$objects/$(basename "${!#}").o"' compile \
    "${compile[@]}"
echo "${#kernels[@]} CUDA kernels compiled for ${#targets[@]} kinds of GPU"
