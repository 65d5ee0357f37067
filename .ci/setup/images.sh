#!/usr/bin/env bash
# Fetches Debian's busybox-static for two architectures into the cache, as tar files: the trees of
# the multi-platform images. The foreign one comes through apt state of its own, so this machine's
# list of architectures stays as it is.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

fetch() {
  local arch="$1" work="$2"
  local apt=(apt-get -qq -o "APT::Architecture=$arch" -o "APT::Architectures::=$arch"
    -o "Dir::State=$work/state" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache"
    -o APT::Sandbox::User=root)
  mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
  : >"$work/status"
  "${apt[@]}" update >&2
  (cd "$work" && "${apt[@]}" download busybox-static >&2)
  dpkg-deb --fsys-tarfile "$work"/busybox-static_*.deb >"$work/tree.tar"
}

mkdir -p "$PACKHOUSE_CACHE/images"
for arch in amd64 arm64; do
  tree="$PACKHOUSE_CACHE/images/busybox-$arch.tar"
  [ -f "$tree" ] && continue
  say "fetching busybox-static for $arch"
  work="$(mktemp -d)"
  fetch "$arch" "$work"
  cp "$work/tree.tar" "$tree.$$"
  mv "$tree.$$" "$tree"
  rm -rf "$work"
done
