#!/usr/bin/env bash
# For those who own a GPU: installs what is missing, builds for it, runs the tests on it, which compare it with the CPU,
# the same tests under the four tools of compute-sanitizer, and the benchmarks, beside PyTorch where that is installed;
# writes down what came out.
#
#   scripts/test_gpu.sh [--out FILE] [--built FOLDER]
#
# FILE: docs/results/<gpu>.md where nothing is said. FOLDER: has what preset gpu builds, made elsewhere, as on a
# cluster's login node; nothing is installed or built then.
#
# Needs CUDA's toolkit. Leaves with 77 where that or a GPU is missing, with 1 when a test failed; the page is written
# then as well, and says so.
set -euo pipefail
cd "$(dirname "$0")/.."

page=
build=
while (($#)); do
  case $1 in
    --out) page=$2; shift 2 ;;
    --built) build=$2; shift 2 ;;
    *) echo "test_gpu.sh: unknown option $1, see the file's first lines" >&2; exit 2 ;;
  esac
done

export PATH=$PATH:/usr/local/cuda/bin
if ! command -v nvcc > /dev/null; then
  echo "nvcc is not here: install NVIDIA's CUDA toolkit, https://developer.nvidia.com/cuda-downloads"
  exit 77
fi
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2> /dev/null | head -n 1 || true)
if [[ -z $gpu ]]; then
  echo "No NVIDIA GPU answers nvidia-smi: nothing to test"
  exit 77
fi

if [[ -z $build ]]; then
  scripts/install_dependencies.sh
  cmake --preset gpu
  cmake --build --preset gpu
  build=build-gpu
fi
tests=$build/tests/cuda/moe_cuda_tests
scripts/get_text.sh

sanitizer=$(command -v compute-sanitizer || true)
if [[ -z $sanitizer ]] && scripts/get_wheels.sh $build compute-sanitizer 'nvidia-cuda-sanitizer-api'; then
  sanitizer=$build/compute-sanitizer/compute-sanitizer
  chmod +x $build/compute-sanitizer/*
fi

[[ -n $page ]] || page=docs/results/$(tr 'A-Z ' 'a-z-' <<< "$gpu").md
mkdir -p "$(dirname "$page")"
: > "$page"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
failed=0

note() { printf '%s\n' "$@" >> "$page"; }
start() { # NAME COMMAND...: in the background
  echo "$1" >&2
  (
    code=0
    "${@:2}" > "$logs/$1" 2>&1 || code=$?
    echo $code > "$logs/$1.code"
  ) &
}
# The outcome of what was started, in one row. Its output is shown when it fails.
finish() { # NAME...
  wait
  local name code
  for name; do
    code=$(< "$logs/$name.code")
    if ((code)); then
      tail -n 60 "$logs/$name" >&2
      failed=1
    fi
    note "| $name | $( ((code)) && echo "failed ($code)" || echo passed) |$(
      grep -E '^(All tests passed|test cases:|========= (ERROR|RACECHECK) SUMMARY)' "$logs/$name" |
        sed 's/^=* *//; s/|/,/g' | paste -sd ';' | sed 's/;/; /g; s/^/ /') |"
  done
}
block() { # COMMAND...
  echo "${*}" >&2
  note '```'
  note "$ ${*//"$build"/build-gpu}"
  "$@" >> "$page" 2>&1 || { note "failed ($?)"; failed=1; }
  note '```' ""
}

note "# $gpu" ""
note "Written by \`scripts/test_gpu.sh\` at commit $(git describe --always --dirty 2> /dev/null || echo unknown)," \
  "CUDA $(nvcc --version | grep -o 'release [0-9.]*'), driver $(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)." ""
note "## Is it right?" ""
note "Every operation, the trainer and the programs, beside plain loops and the CPU: \`moe_cuda_tests\`." ""
note "| | | |" "|---|---|---|"
start tests "$tests"
finish tests
if [[ -n $sanitizer ]]; then
  # Programs that the tests start are not looked into, and hundreds of steps would take hours.
  tools=(memcheck racecheck initcheck synccheck)
  for tool in "${tools[@]}"; do
    start $tool "$sanitizer" --tool $tool --error-exitcode 1 "$tests" '~[apps]~[training]'
  done
  start "memcheck of training" "$sanitizer" --tool memcheck --error-exitcode 1 "$tests" '[training]'
  finish "${tools[@]}" "memcheck of training"
else
  failed=1
  note "| compute-sanitizer | missing | neither in the toolkit nor on PyPI |"
fi
note "" "## How fast is a step?" "" "Of the default model. What the lines mean says \`bench/bench_step.cpp\`." ""
for precision in fp32 tf32 bf16; do
  block $build/bench/bench_step --device cuda --dtype $precision --steps 200
done
note "A model that products bound:" ""
block $build/bench/bench_step --device cuda --dtype bf16 --steps 50 --n-embed 512 --n-layer 4 --num-experts 16 \
  --batch-size 64 --block-size 128
note "## How fast is a run?" ""
block $build/apps/train_moe input.txt --device cuda --out $build/run --max-iters 1001 --eval-interval 500 --no-report
block $build/apps/generate --checkpoint $build/run --device cuda --tokens 500 --seed 1
note "## How fast is an operation?" "" "The GPU's own time, in microseconds." ""
for precision in fp32 bf16; do
  block $build/bench/bench_ops --device cuda --dtype $precision --benchmark_min_time=0.05
done

if python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2> /dev/null; then
  note "## How fast is PyTorch?" "" "\`bench/torch/compare.py\` says how it is compared:" \
    "$(python3 -c 'import torch; print("PyTorch", torch.__version__)')." ""
  block python3 bench/torch/compare.py --device cuda --build "$build" --rounds 1 --steps 10
fi

echo "$page"
exit $failed
