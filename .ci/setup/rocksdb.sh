#!/usr/bin/env bash
# Builds RocksDB's static library once into the cache (25 CPU-minutes), for every profile to link.
# Prints the two exports a build needs:   eval "$(.ci/setup/rocksdb.sh)"
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version="$(rocksdb_version)"
[ -n "$version" ] || { say "rocksdb.sh: Cargo.lock names no librocksdb-sys"; exit 1; }
dir="$(rocksdb_dir)"
work="$PACKHOUSE_CACHE/rocksdb-build"

# librocksdb-sys must compile the very sources its bindings are made from, so its own build
# script does the work, in a throw-away project.
build() {
  # Nothing of an interrupted build can be used again.
  rm -rf "$work"
  mkdir -p "$work/src"
  : >"$work/src/lib.rs"
  cat >"$work/Cargo.toml" <<TOML
[package]
name = "rocksdb-build"
version = "0.0.0"
edition = "2024"
publish = false
[dependencies]
librocksdb-sys = { version = "=$version", default-features = false, features = [$ROCKSDB_FEATURES] }
[workspace]
[profile.release]
debug = 0
TOML
  say "building RocksDB (librocksdb-sys $version) once; this takes a while"
  cd "$work"
  # The caller's flags and targets are not ours.
  env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET \
    RUSTUP_TOOLCHAIN="$(rust_channel)" RUSTFLAGS="$(rocksdb_rustflags)" CARGO_TARGET_DIR="$work/target" \
    nice -n 10 cargo build --release >&2

  local library=("$work"/target/release/build/librocksdb-sys-*/out/librocksdb.a)
  mkdir -p "$dir"
  # Whoever sees the name sees the whole library.
  cp "${library[0]}" "$dir/librocksdb.a.$$"
  mv "$dir/librocksdb.a.$$" "$dir/librocksdb.a"
  rm -rf "$work"
}

if [ ! -f "$dir/librocksdb.a" ]; then
  mkdir -p "$PACKHOUSE_CACHE"
  # Two callers must not build twice: the second waits and finds the library.
  exec 9>"$PACKHOUSE_CACHE/rocksdb.lock"
  flock 9
  [ -f "$dir/librocksdb.a" ] || (build)
fi

echo "export ROCKSDB_LIB_DIR='$dir'"
echo "export ROCKSDB_STATIC=1"
