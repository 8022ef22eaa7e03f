#!/usr/bin/env bash
# Does every CUDA kernel compile without a warning for each generation of GPU we mean to run on, and keep the rules of
# scripts/kernel_code.py: no stack, no spills, tensor cores where they belong? Prints what the compiler made of each.
# Needs nvcc but no GPU. Skipped (77) where there is nothing to compile or no nvcc.
#
#   scripts/check_cuda.sh [--write FILE]     FILE: docs/kernel-code.md
set -euo pipefail
cd "$(dirname "$0")/.."

# The largest first, so that cores end together.
mapfile -t kernels < <(find kernels -name '*.cu' -printf '%s %p\n' | sort -rn | cut -d' ' -f2)
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

# The files side by side, one to a core. The objects are of no use, but a compiler cache needs them.
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
compile=("$nvcc" -std=c++20 --fmad=false -O3 -I. --Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Werror -Xptxas=-v "${targets[@]}")
! command -v ccache > /dev/null || compile=(ccache "${compile[@]}")
export objects
compile_one() { # COMMAND... FILE
  local file=${!#} log
  log=$objects/$(basename "$file").log
  "${@:1:$#-1}" -c "$file" -o "${log%.log}.o" > "$log" 2>&1 || { grep -v '^ptxas info' "$log" >&2; return 1; }
}
export -f compile_one
printf '%s\0' "${kernels[@]}" |
  xargs -0 -n 1 -P "$(nproc)" bash -c 'compile_one "$@"' compile_one "${compile[@]}"

# The disassembler is not part of every toolkit. Without it the machine code is not looked at.
tools=build-cuda
export PATH=$PATH:$(dirname "$nvcc"):$PWD/$tools/bin
how=()
if command -v cuobjdump > /dev/null || scripts/get_cuda_disassembler.sh "$tools"; then
  how=(--cuobjdump cuobjdump)
fi
scripts/kernel_code.py "$objects" "${how[@]}" "$@"
echo "${#kernels[@]} CUDA sources compiled for ${#targets[@]} kinds of GPU"
