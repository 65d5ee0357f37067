#!/usr/bin/env bash
# Makes sure that the toolchain of rust-toolchain.toml is there. Debian 12 has neither a new
# enough Rust nor rustup, so a machine without either is told what to do.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

channel="$(rust_channel)"
cd "$PACKHOUSE_TREE"

# Later Debians do carry rustup.
if ! command -v cargo >/dev/null && ! command -v rustup >/dev/null; then
  if grep -q 'Candidate: [0-9]' <<<"$(apt-cache policy rustup 2>/dev/null)" && [ "$(id -u)" -eq 0 ]; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rustup >&2
  else
    say "rust.sh: Rust $channel is needed and this system has no package of it."
    say "Install rustup as https://www.rust-lang.org/tools/install says, or put a cargo of that"
    say "version on the PATH, and run this again."
    exit 1
  fi
fi

# rustup's cargo, in this directory, is the pinned one or an error.
if command -v rustup >/dev/null && ! grep -q "^$channel-" <<<"$(rustup toolchain list)"; then
  rustup toolchain install "$channel" --profile minimal --component rustfmt --component clippy >&2
fi

have="$(cargo --version | cut -d' ' -f2)"
if ! printf '%s\n' "$channel" "$have" | sort -V -C; then
  say "rust.sh: cargo is $have, $channel is needed"
  exit 1
fi
