#!/usr/bin/env bash
# Searches with libFuzzer, under AddressSanitizer and UndefinedBehaviorSanitizer, for bytes that break a reader of
# what comes from outside. The targets are in tests/fuzz/targets.h; docs/fuzzing.md says what was found.
#
#   scripts/fuzz.sh [TARGET...]     all of them by default
#
# RUNS=500000 is the number of inputs for each target, JOBS=2 how many targets run side by side. Starts from
# tests/fuzz/corpus and what earlier searches have found (build-fuzz/found). Inputs that break something are left in
# build-fuzz/broken; leaves with 1 then. An input may take 5 seconds and the process 1 GiB.
set -euo pipefail
cd "$(dirname "$0")/.."

all=(safetensors checkpoint tokenizer_json config_json text train_command generate_command byte_pairs)
targets=("$@")
((${#targets[@]})) || targets=("${all[@]}")
runs=${RUNS:-500000}
jobs=${JOBS:-2}

scripts/install_dependencies.sh
scripts/install_dependencies.sh --only clang libclang-rt-14-dev
cmake -S . -B build-fuzz -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DCMAKE_CXX_FLAGS=-fsanitize=fuzzer-no-link -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O2 -g1 -D_GLIBCXX_ASSERTIONS" \
  -DMOE_SANITIZE=address,undefined -DMOE_FUZZ=ON -DMOE_BENCH=OFF -DMOE_CUDA=OFF > /dev/null
cmake --build build-fuzz --target "${targets[@]/#/fuzz_}"

mkdir -p build-fuzz/found build-fuzz/broken build-fuzz/logs
search() {
  local target=$1 log=build-fuzz/logs/$1.log status=0 longest=4096
  [[ $target != byte_pairs ]] || longest=512  # training on it takes its time
  mkdir -p "build-fuzz/found/$target"
  "build-fuzz/tests/fuzz/fuzz_$target" "build-fuzz/found/$target" "tests/fuzz/corpus/$target" -runs="$runs" \
    -max_len="$longest" -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 -close_fd_mask=3 -verbosity=1 \
    -artifact_prefix="build-fuzz/broken/$target-" < /dev/null > "$log" 2>&1 || status=$?
  awk -v target="$target" -v status="$status" '
    /^stat::number_of_executed_units/ { inputs = $2 }
    /^stat::average_exec_per_sec/ { rate = $2 }
    /^stat::slowest_unit_time_sec/ { slowest = $2 }
    /^stat::peak_rss_mb/ { rss = $2 }
    / cov: / { for (i = 1; i < NF; ++i) if ($i == "cov:") edges = $(i + 1) }
    END { printf "%-17s %9d inputs  %6d a second  slowest %d s  %4d MiB  %5d edges  %s\n", target, inputs, rate,
          slowest, rss, edges, status == 0 ? "nothing found" : "STOPPED, see the log" }' "$log"
  return "$status"
}
export -f search
export runs
printf '%s\0' "${targets[@]}" | xargs -0 -n 1 -P "$jobs" bash -c 'search "$1"' search
