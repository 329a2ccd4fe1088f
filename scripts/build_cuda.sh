#!/usr/bin/env bash
# Builds kiln and its tests for NVIDIA machines on a machine that needs neither GPU, nor CUDA, nor the internet; prints where they are.
#
# cubecl-cuda holds two compilers: LLVM, whose bundle its build script downloads, and CUDA C++ through NVRTC. The feature cuda-nvrtc
# makes the second the default, so that LLVM is never called; but its functions are still named, and would stop the linker. Here each
# gets a stand-in that ends the program with its name. DOCS_RS=1 tells the build script that nothing is to be downloaded.
#
# The machine that runs the binaries needs NVIDIA's driver (libcuda), NVRTC (libnvrtc, part of the CUDA toolkit and of PyTorch) and the
# toolkit's headers: see docs/devices.md.
# Usage: scripts/build_cuda.sh [FEATURE,...]   more features beside cuda-nvrtc, such as wgpu
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/kiln-target}" DOCS_RS=1
features=cuda-nvrtc${1:+,$1}
work=$CARGO_TARGET_DIR/cuda
mkdir -p "$work"

# Cargo takes a linker's argument for one target of a package alone, and the tests need the command: so this package's rustc gets it.
# shellcheck disable=SC2016
printf '#!/bin/sh\nexec "$@" $KILN_LINK\n' >"$work/rustc"
chmod +x "$work/rustc"
export RUSTC_WORKSPACE_WRAPPER=$work/rustc KILN_LINK=

# A first link, whatever is missing, to learn the names.
cargo rustc --release --bin kiln --features "$features" -- -C link-arg=-Wl,--unresolved-symbols=ignore-all
nm --undefined-only "$CARGO_TARGET_DIR/release/kiln" | awk '$1 == "U" && $2 ~ /^(LLVM|cubecl_)/ { print $2 }' | sort -u >"$work/missing"
{
  echo '#include <stdio.h>'
  echo '#include <stdlib.h>'
  echo 'static void missing(const char *name) {'
  # shellcheck disable=SC2028
  echo '  fprintf(stderr, "%s: this build of kiln has no LLVM\n", name);'
  echo '  abort();'
  echo '}'
  while read -r name; do echo "void $name(void) { missing(\"$name\"); }"; done <"$work/missing"
} >"$work/stand_ins.c"
cc -O1 -c "$work/stand_ins.c" -o "$work/stand_ins.o"

KILN_LINK="-C link-arg=$work/stand_ins.o" \
  cargo build --release --bin kiln --test kiln --features "$features" --message-format=json-render-diagnostics |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' >"$work/made"
cp "$CARGO_TARGET_DIR/release/kiln" "$work/kiln"
cp "$(grep /deps/ "$work/made")" "$work/kiln-tests"
strip "$work/kiln" "$work/kiln-tests"
echo "$work/kiln, $work/kiln-tests: $(wc -l <"$work/missing") functions of LLVM stood in for; it needs"
ldd "$work/kiln"
