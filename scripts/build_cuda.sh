#!/usr/bin/env bash
# Builds kiln for NVIDIA machines on a machine that needs neither GPU, nor CUDA, nor the internet; prints where the binary is.
#
# cubecl-cuda holds two compilers: LLVM, whose bundle its build script downloads, and CUDA C++ through NVRTC. The feature cuda-nvrtc
# makes the second the default, so that LLVM is never called; but its functions are still named, and would stop the linker. Here each
# gets a stand-in that ends the program with its name. DOCS_RS=1 tells the build script that nothing is to be downloaded.
#
# The machine that runs the binary needs NVIDIA's driver (libcuda) and NVRTC (libnvrtc, part of the CUDA toolkit and of PyTorch).
# Usage: scripts/build_cuda.sh [FEATURE,...]   more features beside cuda-nvrtc, such as wgpu
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/kiln-target}" DOCS_RS=1
features=cuda-nvrtc${1:+,$1}
work=$CARGO_TARGET_DIR/cuda
mkdir -p "$work"

build() {
  cargo rustc --release --bin kiln --features "$features" -- -C link-arg="$1"
}

# A first link, whatever is missing, to learn the names.
build -Wl,--unresolved-symbols=ignore-all
nm --undefined-only "$CARGO_TARGET_DIR/release/kiln" | awk '$1 == "U" && $2 ~ /^(LLVM|cubecl_)/ { print $2 }' | sort -u >"$work/missing"
{
  echo '#include <stdio.h>'
  echo '#include <stdlib.h>'
  echo 'static void missing(const char *name) {'
  echo '  fprintf(stderr, "%s: this build of kiln has no LLVM\n", name);'
  echo '  abort();'
  echo '}'
  while read -r name; do echo "void $name(void) { missing(\"$name\"); }"; done <"$work/missing"
} >"$work/stand_ins.c"
cc -O1 -c "$work/stand_ins.c" -o "$work/stand_ins.o"
build "$work/stand_ins.o"
cp "$CARGO_TARGET_DIR/release/kiln" "$work/kiln"
strip "$work/kiln"
echo "$work/kiln: $(wc -l <"$work/missing") functions of LLVM stood in for; it needs"
ldd "$work/kiln"
