#!/usr/bin/env bash
# Installs the Debian packages that are missing, in groups: build, clients, bench.
# Usage: packages.sh [group…]      (default: build)
set -euo pipefail
. "$(dirname "$0")/lib.sh"

packages_of() {
  case "$1" in
    # clang and libclang: bindgen reads RocksDB's headers. cmake: aws-lc. strace: a test of the order of syncs.
    build) echo build-essential ca-certificates clang cmake git libclang-dev openssl pkg-config strace ;;
    # Registry and management clients, what they run on, and who reads the metrics.
    clients) echo buildah containerd docker.io gh openssl podman prometheus runc skopeo ;;
    # Peers and measuring tools of the benchmarks.
    bench) echo docker-registry nghttp2-client nginx openssl wrk ;;
    *)
      say "packages.sh: no group '$1' (build, clients, bench)"
      return 2
      ;;
  esac
}

wanted=()
for group in "${@:-build}"; do
  list="$(packages_of "$group")"
  read -ra names <<<"$list"
  wanted+=("${names[@]}")
done

missing=()
for package in "${wanted[@]}"; do
  status="$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)"
  [ "$status" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

sudo=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    say "packages.sh: not root and no sudo; please install: ${missing[*]}"
    exit 1
  fi
  sudo=(sudo)
fi

# docker, docker-registry, containerd, nginx and prometheus would start at once and take ports that the tests use.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
  "${sudo[@]}" chmod 755 "$policy"
  trap '"${sudo[@]}" rm -f "$policy"' EXIT
fi

log="$(mktemp)"
install() {
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}" >"$log" 2>&1
}

say "installing Debian packages: ${missing[*]}"
# The lists may be fresh already: fetch them only when the packages cannot be had without.
if ! install; then
  "${sudo[@]}" apt-get update -qq >&2
  install || { cat "$log" >&2; exit 1; }
fi
rm -f "$log"
