#!/usr/bin/env bash
# Installs the pinned management client written in JavaScript into the cache; what it stands on is pinned beside this file.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

bin="$(tool_dir octokit "$OCTOKIT_VERSION")"
[ -x "$bin/octokit" ] && exit 0
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  say "SKIP octokit: no node and npm on the PATH"
  # A developer may go without; CI may not.
  [ "${CI:-}" != true ] || exit 1
  exit 0
fi
say "installing octokit $OCTOKIT_VERSION"
mkdir -p "$PACKHOUSE_CACHE/tools"
work="$(mktemp -d "$PACKHOUSE_CACHE/tools/.npm-XXXXXX")"
trap 'rm -rf "$work"' EXIT
cp "$PACKHOUSE_TREE/.ci/setup/octokit/"*.json "$work"
(cd "$work" && npm ci --ignore-scripts --no-audit --no-fund >&2)
dir="$(dirname "$bin")"
rm -rf "$dir"
mkdir -p "$bin"
mv "$work/node_modules" "$dir"
# Runs a script, and tells it where the client is.
cat >"$bin/octokit" <<'SH'
#!/bin/sh
OCTOKIT_MODULES="$(dirname "$(dirname "$(readlink -f "$0")")")/node_modules" exec node "$@"
SH
chmod 755 "$bin/octokit"
