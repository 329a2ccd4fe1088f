#!/usr/bin/env bash
# Installs what Kiln is built with beside Rust 1.95: a C compiler, for the allocator and for linking.
# Does nothing where it is there already; on Debian and Ubuntu it asks apt, as root or through sudo.
set -euo pipefail

if ! command -v cc >/dev/null; then
  if ! command -v apt-get >/dev/null; then
    echo "no C compiler found: install gcc or clang with this system's package manager" >&2
    exit 1
  fi
  as_root=$([ "$(id -u)" -eq 0 ] || echo sudo)
  $as_root apt-get update
  $as_root apt-get install --yes --no-install-recommends gcc libc6-dev
fi
if ! command -v cargo >/dev/null; then
  echo "no cargo found: install Rust 1.95 or later from https://rustup.rs" >&2
  exit 1
fi
