#!/usr/bin/env bash
# Builds the pinned cargo-deny into the cache; env.sh puts it on the PATH.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version="$CARGO_DENY_VERSION"
dir="$(dirname "$(tool_dir cargo-deny "$version")")"
if [ ! -x "$dir/bin/cargo-deny" ]; then
  say "building cargo-deny $version"
  cargo install cargo-deny --locked --version "$version" --root "$dir" >&2
fi
