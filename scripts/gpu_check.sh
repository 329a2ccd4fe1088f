#!/usr/bin/env bash
# Checks a machine with a card, without Rust and without a network: parity of all families, 100 steps of the quickstart, kill and resume, and
# a table of training steps beside PyTorch's. docs/devices.md says more.
#
#   scripts/gpu_check.sh --prepare FOLDER [KILN KILN_TESTS]
#       On the machine that builds: packs what the other needs beside this repository. Without the two files, those that
#       scripts/build_cuda.sh has made.
#   scripts/gpu_check.sh [--small] [--seconds 460] [--parts "parity quickstart kill table"] FOLDER OUT
#       On the machine with the card: writes OUT/report.md as it goes, and OUT/log.txt. --small has small shapes, for a driver in software.
#       XDG_CACHE_HOME names a folder in which kernels are kept for a second run.
#
# Needs Python 3.9 there (PYTHON names it), and PyTorch for its side of the table. Exit code 1 if something is wrong that was run.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export PYTHONDONTWRITEBYTECODE=1

prepare() {
  local folder=$1 built=${CARGO_TARGET_DIR:-$HOME/.cache/kiln-target}/cuda work
  local kiln=${2:-$built/kiln} tests=${3:-$built/kiln-tests}
  work=$(mktemp -d)
  mkdir -p "$folder"
  install "$kiln" "$work/kiln"
  install "$tests" "$work/kiln-tests"
  strip "$work/kiln" "$work/kiln-tests"
  # The two have much in common: one window over both.
  tar -C "$work" -c kiln kiln-tests | xz --x86 --lzma2=preset=6,dict=256MiB >"$folder/binaries.tar.xz"
  # The toolkit's headers, for a machine that has PyTorch alone, whose packages lack some.
  local packages=('nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-cuda-cccl==13.0.*')
  if "$python" -m pip download -q --no-deps --only-binary=:all: -d "$work" "${packages[@]}"; then
    for wheel in "$work"/*.whl; do "$python" -m zipfile -e "$wheel" "$work"; done
    tar -C "$work/nvidia/cu13" -cJf "$folder/headers.tar.xz" include
  else
    echo "without CUDA headers: pip could not get them"
  fi
  cp "$(ldconfig -p | awk '/libvulkan.so.1 / { print $NF; exit }')" "$folder/" || echo "without libvulkan.so.1: this machine has none"
  git describe --always --dirty >"$folder/commit"
  rm -r "$work"
  du -ch --apparent-size "$folder"/*
  [ "$(du -s --apparent-size -B1000000 "$folder" | cut -f1)" -lt 60 ] || { echo "$folder is larger than 60 MB" >&2; exit 1; }
}

say() { printf '%s\n' "$@" | tee -a "$report"; }

left() { echo $((seconds - SECONDS)); }

# Runs a command for at most so many seconds (on a driver in software four times as many), and no longer than there is time; its words go to
# log.txt.
within() {
  local limit=$(($1 * patience))
  shift
  [ "$(left)" -gt "$limit" ] || limit=$(left)
  [ "$limit" -gt 5 ] || return "$no_time"
  echo "--- within $limit s: $*" >>"$log"
  timeout -k 5 "$limit" "$@" >>"$log" 2>&1
}

# not_done CODE WHAT: a line of the report on a command that `within` ended with that code.
not_done() {
  case $1 in
    "$no_time") say "- $2: skipped, no time was left"; return 0 ;;
    124 | 137) say "- $2: **FAILED**, it ran out of its time or was killed; said last: $(tail -n 1 "$log")" ;;
    *) say "- $2: **FAILED** with code $1: $(tail -n 1 "$log")" ;;
  esac
  wrong=1
}

machine() {
  say "# GPU check" "" "$(date -u '+%Y-%m-%d %H:%M UTC'), binaries of commit $(cat "$folder/commit"), scripts of $(git describe --always --dirty 2>/dev/null || echo unknown)" ""
  say "- $(uname -srm), $(nproc) cores ($(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)), $(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
  card=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1) || card=
  say "- $(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || echo 'no nvidia-smi')"
  say "- $("$python" -c 'import sys; print("Python", sys.version.split()[0], end="")'), $("$python" -c 'import torch; print("PyTorch", torch.__version__, "with CUDA", torch.version.cuda)' 2>/dev/null || echo 'no PyTorch')"
}

# Unpacks the binaries, and finds what the kernels of cuda are compiled with and the Vulkan loader.
unpack() {
  "$python" -m tarfile -e "$folder/binaries.tar.xz" "$work" >>"$log" 2>&1
  chmod +x "$work/kiln" "$work/kiln-tests"
  local headers=() found
  if [ -e "$folder/headers.tar.xz" ]; then
    "$python" -m tarfile -e "$folder/headers.tar.xz" "$work/carried" >>"$log" 2>&1
    headers=("$work/carried/include")
  fi
  [ ! -d /usr/local/nvidia/lib64 ] || export LD_LIBRARY_PATH=/usr/local/nvidia/lib64:${LD_LIBRARY_PATH:-}
  if found=$("$python" scripts/gpu_check_cuda.py "$work" "${headers[@]}" 2>&1); then
    say "- $(head -n 1 <<<"$found")"
    eval "$(tail -n +2 <<<"$found")"
  else
    say "- no kernel for cuda can be compiled: $(tail -n 1 <<<"$found")"
  fi
  # Mesa asks for such a folder.
  export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$work} XDG_CACHE_HOME=${XDG_CACHE_HOME:-$work/cache}
  if ! ldconfig -p | grep -q libvulkan.so.1 && [ -e "$folder/libvulkan.so.1" ]; then
    mkdir "$work/vulkan" && cp "$folder/libvulkan.so.1" "$work/vulkan/"
    export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}:$work/vulkan
  fi
  local icd=/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json
  [ -n "${VK_DRIVER_FILES:-}" ] || [ ! -e $icd ] || export VK_DRIVER_FILES=$icd
}

# Fills `backends`, the best first, and `main`, the first of them.
devices() {
  local list
  list=$(CUBECL_AUTOTUNE_LEVEL=minimal timeout -k 5 120 "$work/kiln" devices 2>>"$log") || say "**FAILED**: \`kiln devices\` ended with code $?"
  say "" '```' "$list" '```'
  backends=()
  for backend in cuda wgpu; do
    if grep -q "^$backend *0 " <<<"$list"; then
      backends+=("$backend")
    else
      say "- $backend is skipped: $(sed -n "s/^$backend  *//p" <<<"$list")"
    fi
  done
  [ ${#backends[@]} -gt 0 ] || { say "" "Nothing to check: no card was found." ; exit 1; }
  main=${backends[0]}
  precisions=$(sed -n "s/^$main *0 .*; //p" <<<"$list" | tr -d ,)
  patience=1
  if grep "^$main *0 " <<<"$list" | grep -q software; then
    export CUBECL_AUTOTUNE_LEVEL=minimal
    patience=4
  fi
}

# The tests of one module of parity, one test of a kernel or, where there are few cores, all of them, until a moment in seconds. On cuda they have
# kernels of their own: which ones are taken follows from the headers.
parity_of() {
  local name=$1-${2//::/-} filters=("$2") limit=$(($3 - $(date +%s))) cache=$XDG_CACHE_HOME
  [ "$2" != all ] || filters=(parity:: kernels::)
  [ "$backend" != cuda ] || cache=$cache/$name
  shift 3
  [ "$limit" -gt 1 ] || return 0
  env CARGO_MANIFEST_DIR="$PWD" KILN_TEST_DEVICE="$backend" XDG_CACHE_HOME="$cache" CUBECL_AUTOTUNE_LEVEL=minimal RUST_TEST_THREADS=4 "$@" \
    timeout -k 5 "$limit" "$work/kiln-tests" "${filters[@]}" --nocapture >"$work/$name.out" 2>"$work/$name.err" || true
}

# parity LABEL LIMIT [VARIABLE=VALUE ...]: all tests of parity and of kernels on `backend`; a process for each module, for they compile one kernel at a time.
parity() {
  local label=$1 limit=$(($2 * patience)) name=${1// /-} began=$SECONDS end list modules results passed failed
  shift 2
  [ "$(left)" -gt "$limit" ] || limit=$(left)
  [ "$limit" -gt 10 ] || { say "| $label | | | skipped: no time was left | |"; return 0; }
  end=$(($(date +%s) + limit))
  list=$("$work/kiln-tests" --list parity:: kernels:: 2>>"$log" | sed -n 's/: test$//p') ||
    { say "| $label | | | the tests do not start: $(tail -n 1 "$log") | |"; wrong=1; return 0; }
  modules=all
  [ "$(nproc)" -lt 8 ] || modules=$(sed 's/^\(parity::[^:]*::\).*/\1/' <<<"$list" | sort -u)
  for module in $modules; do
    while [ "$(jobs -rp | wc -l)" -ge $((($(nproc) + 1) / 2)) ]; do wait -n || true; done
    parity_of "$name" "$module" "$end" "$@" &
  done
  wait
  tail -c 200000 "$work/$name"-*.out "$work/$name"-*.err >>"$log"
  results=$(cat "$work/$name"-*.out)
  passed=$(grep -c '^test .* ok$' <<<"$results" || true)
  failed=$(grep -c '^test .* FAILED$' <<<"$results" || true)
  say "| $label | $passed | $failed | $(($(wc -l <<<"$list") - passed - failed)) | $((SECONDS - began)) |"
  [ "$failed" = 0 ] || wrong=1
}

parity_head() {
  say "" "## Parity" "" "| on | passed | failed | not ended in time | s |" "|---|---|---|---|---|"
}

# What failed tests said first.
parity_failures() {
  local said
  said=$(grep -h -A1 '^thread .*panicked' "$work"/*.err | sed 's/^/    /' || true)
  [ -z "$said" ] || say "" "Failed:" "" "$said"
}

first_parity() {
  parity_head
  backend=$main
  if [ "$main" = cuda ]; then
    parity "cuda without tensor cores" 150 KILN_TEST_TF32=0 CUDA_PATH="$work/no-tensor-cores"
  else
    parity "$main" 150
  fi
  parity_failures
}

# What there may be no time for: TF32, and the other backend.
second_parity() {
  parity_head
  rm -f "$work"/*.err
  for backend in "${backends[@]}"; do
    if [ "$backend" = cuda ]; then
      parity "cuda with TF32" 90
    elif [ "$backend" != "$main" ]; then
      parity "$backend" 90
    fi
  done
  parity_failures
}

quickstart() {
  say "" "## 100 steps of the quickstart, without dropout" ""
  local code
  for backend in "$main" flex; do
    code=0
    within 150 "$work/kiln" train recipes/quickstart.toml training.max_steps=100 training.logging_steps=20 \
      model.config.hidden_dropout_prob=0.0 model.config.attention_probs_dropout_prob=0.0 evaluation.every_steps=100 evaluation.test=false \
      data.max_eval_rows=20 checkpoint.every_steps=100 device.backend="$backend" data.cache="$work/tokens" output.dir="$work/quickstart-$backend" ||
      code=$?
    if [ $code = 0 ]; then
      say "- $backend: $(losses "$work/quickstart-$backend/metrics.jsonl")"
    else
      not_done $code "$backend"
    fi
  done
}

losses() {
  "$python" - "$1" <<'END'
import json, sys
lines = [line for line in map(json.loads, open(sys.argv[1])) if line["kind"] == "train"]
said = ", ".join(f"{line['loss']:.4f}" for line in lines)
print(f"mean losses of each 20 steps {said}; {lines[-1]['seconds_per_step']:.4f} s a step in the end")
END
}

kill_and_resume() {
  say "" "## Killed and resumed" ""
  local code=0
  within 150 "$python" scripts/kill_test.py --kiln "$work/kiln" --runs 3 training.max_steps=60 evaluation.every_steps=20 checkpoint.every_steps=20 \
    evaluation.test=false data.max_eval_rows=20 device.backend="$main" || code=$?
  if [ $code = 0 ]; then
    say "- $main: $(tail -n 1 "$log")"
  else
    not_done $code "$main"
  fi
}

table() {
  say "" "## A training step" ""
  local time=$(($(left) - reserve))
  [ "$time" -gt 20 ] || { say "Skipped: no time was left."; return 0; }
  "$python" scripts/gpu_check_table.py --kiln "$work/kiln" --backend "$main" --precisions "$precisions" --card "$card" --work "$work/table" \
    --report "$report" --seconds "$time" "${small[@]}" 2>>"$log" || say "**FAILED**: $(tail -n 1 "$log")"
  say "" "The peak is NVIDIA's for products of dense matrices in bf16, and in TF32 for f32. Memory on a card: what nvidia-smi shows more than before (Kiln)," \
    "what PyTorch's allocator had handed out at most; on a driver in software the process's own. Kiln's note is the time until its first steps are done," \
    "from the start of the process on: kernels are compiled and chosen in it. PyTorch is not compiled, and its attention has no mask."
}

# What `within` returns where there is no time left: no command ends so.
no_time=99
small=() seconds=460 parts="parity quickstart kill table"
while true; do
  case ${1:-} in
    --prepare) shift; prepare "$@"; exit ;;
    --small) small=(--small); shift ;;
    --seconds) seconds=$2; shift 2 ;;
    --parts) parts=$2; shift 2 ;;
    *) break ;;
  esac
done
[ $# = 2 ] || { sed -n '2,/^set/p' "$0" | sed '$d; s/^# \{0,1\}//' >&2; exit 2; }
folder=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2") wrong=0
report=$out/report.md log=$out/log.txt
: >"$report"
: >"$log"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
machine
unpack
devices
# What the table leaves for the parity that comes after it.
reserve=0
[[ $parts != *parity* || $main != cuda ]] || reserve=80
for part in $parts; do
  case $part in
    parity) first_parity ;;
    quickstart) quickstart ;;
    kill) kill_and_resume ;;
    table) table ;;
    *) say "$part is no part"; exit 2 ;;
  esac
done
if [[ $parts == *parity* && ( $main == cuda || ${#backends[@]} -gt 1 ) ]]; then second_parity; fi
say "" "Took $SECONDS s."
exit $wrong
