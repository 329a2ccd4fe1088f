#!/usr/bin/env bash
# Installs what Kiln is built with beside Rust 1.95: a C compiler, for the allocator and for linking.
# With --software-vulkan also Mesa's Vulkan driver in software, which the tests of the GPU path run on; with --mpi also OpenMPI, and what
# the feature `mpi` is built with.
# Does nothing where it is there already; on Debian and Ubuntu it asks apt, as root or through sudo.
set -euo pipefail

install() {
  if ! command -v apt-get >/dev/null; then
    echo "not found: $1; install it with this system's package manager" >&2
    exit 1
  fi
  as_root=$([ "$(id -u)" -eq 0 ] || echo sudo)
  $as_root apt-get update
  $as_root apt-get install --yes --no-install-recommends "${@:2}"
}

command -v cc >/dev/null || install "a C compiler, gcc or clang" gcc libc6-dev
if [ "${1:-}" = --software-vulkan ] && ! ls /usr/share/vulkan/icd.d/lvp_icd.*.json >/dev/null 2>&1; then
  install "Mesa's software Vulkan driver, lavapipe" mesa-vulkan-drivers
fi
if [ "${1:-}" = --mpi ] && ! { command -v mpicc && command -v mpirun; } >/dev/null; then
  install "OpenMPI and libclang" libopenmpi-dev openmpi-bin libclang-dev
fi
if ! command -v cargo >/dev/null; then
  echo "no cargo found: install Rust 1.95 or later from https://rustup.rs" >&2
  exit 1
fi
