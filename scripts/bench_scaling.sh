#!/usr/bin/env bash
# How a training step's time grows with threads, experts, context, width, depth and batch. Each line of the table is one
# run of bench_step: medians in ms, the ratio of the whole step to the floor that the same run measures, and the share
# of the rate of large products that the whole step reaches.
#
#   scripts/bench_scaling.sh [--steps N]     steps a line, 20 where nothing is said
set -euo pipefail
cd "$(dirname "$0")/.."

steps=20
while (($#)); do
  case $1 in
    --steps) steps=$2; shift 2 ;;
    *) echo "bench_scaling.sh: unknown option $1, see the file's first lines" >&2; exit 2 ;;
  esac
done

cmake --preset release > /dev/null
cmake --build --preset release --target bench_step > /dev/null

row() { # NAME OPTION...
  build/bench/bench_step --device cpu --steps "$steps" "${@:2}" | awk -v name="$1" '
    /large products/ {
      for (i = 2; i <= NF; ++i) {
        if ($i ~ /^GFLOP\/s/) rate = $(i - 1)
        if ($i == "GFLOP") work = $(i - 1)
      }
    }
    /^forward, backward/ { gradients = $4 }
    /^optimizer/ { update = $3 }
    /^step/ { step = $3; ratio = $NF }
    END { printf "| %s | %.1f | %.1f | %.1f | %s | %.0f%% |\n", name, gradients, update, step, ratio, 1e5 * work / step / rate }'
}

echo "| | forward, backward | optimizer | step | of the floor | of large products |"
echo "|---|---|---|---|---|---|"
for threads in $(seq 1 "$(nproc)"); do row "$threads threads" --threads "$threads"; done
for experts in 8 16 32 64; do row "1 thread, E = $experts" --threads 1 --num-experts "$experts"; done
for length in 32 64 128 256; do
  row "1 thread, T = $length, B = $((512 / length))" --threads 1 --block-size "$length" --batch-size $((512 / length))
done
for layers in 4 16; do row "1 thread, $layers layers" --threads 1 --n-layer "$layers"; done
for batch in 4 64; do row "1 thread, B = $batch" --threads 1 --batch-size "$batch"; done
for width in 64 256; do row "1 thread, C = $width" --threads 1 --n-embed "$width"; done
row "1 thread, C = 512, 4 layers, E = 16" --threads 1 --n-embed 512 --n-layer 4 --num-experts 16
