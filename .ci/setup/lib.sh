# Sourced by the scripts beside it: where the cache is, which versions are pinned.
# shellcheck shell=bash

PACKHOUSE_CACHE="${PACKHOUSE_CACHE:-$HOME/.cache/packhouse}"
PACKHOUSE_TREE="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

say() { printf '%s\n' "$*" >&2; }

# The toolchain that rust-toolchain.toml pins; builds outside the tree must name it themselves.
rust_channel() {
  sed -n 's/^channel *= *"\(.*\)"/\1/p' "$PACKHOUSE_TREE/rust-toolchain.toml"
}

# --- RocksDB: one static library for each set of flags ---------------------------------------

# The crate that Cargo.lock names, so that bindings and library never drift apart.
rocksdb_version() {
  awk -F'"' '/^name = "librocksdb-sys"$/ { getline; sub(/\+.*/, "", $2); print $2 }' "$PACKHOUSE_TREE/Cargo.lock"
}
ROCKSDB_FEATURES='"static", "bindgen-runtime", "lz4", "zstd"'

# librocksdb-sys turns Rust's target features into C++ flags. Without these RocksDB computes
# CRC32C in software. Only x86_64 needs to be told.
rocksdb_rustflags() {
  [ "$(uname -m)" = x86_64 ] && echo "-Ctarget-cpu=x86-64-v2 -Ctarget-feature=+pclmulqdq"
  return 0
}

rocksdb_dir() {
  local compiler hash
  compiler="$("${CXX:-c++}" -dumpfullversion 2>/dev/null || echo none)"
  hash="$(printf '%s|' "$(uname -m)" "$(rocksdb_rustflags)" "$ROCKSDB_FEATURES" "$compiler" | sha256sum | cut -c1-12)"
  echo "$PACKHOUSE_CACHE/rocksdb/$(rocksdb_version)-$hash"
}

# --- client tools written in Go --------------------------------------------------------------

# name, version, how it is built, package. "module": `go install` of these two asks the proxy for
# @latest and fails, so a small module of our own requires them.
GO_TOOLS="
crane     v0.22.1  install  github.com/google/go-containerregistry/cmd/crane
regctl    v0.11.7  install  github.com/regclient/regclient/cmd/regctl
helm      v3.22.0  install  helm.sh/helm/v3/cmd/helm
cosign    v2.6.5   install  github.com/sigstore/cosign/v2/cmd/cosign
oras      v1.2.3   module   oras.land/oras/cmd/oras
notation  v1.3.2   module   github.com/notaryproject/notation/cmd/notation
"
# Only when asked for (PACKHOUSE_HELM4=1); lands on the PATH as helm4.
HELM4="helm4     v4.3.1   install  helm.sh/helm/v4/cmd/helm"

go_tools() {
  printf '%s\n' "$GO_TOOLS" | sed '/^$/d'
  if [ "${PACKHOUSE_HELM4:-}" = 1 ]; then printf '%s\n' "$HELM4"; fi
}

CARGO_DENY_VERSION=0.20.2

# The management client; .ci/setup/octokit pins what it stands on.
OCTOKIT_VERSION=4.1.4

tool_dir() { echo "$PACKHOUSE_CACHE/tools/$1-$2/bin"; }
