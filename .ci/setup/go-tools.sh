#!/usr/bin/env bash
# Builds the pinned registry clients written in Go into the cache, one folder for each version.
# Usage: go-tools.sh [name…]      (default: all; PACKHOUSE_HELM4=1 adds helm4)
set -euo pipefail
. "$(dirname "$0")/lib.sh"

wanted() {
  [ $# -eq 1 ] && return 0
  local name="$1"
  shift
  [[ " $* " == *" $name "* ]]
}

# Debian 12's Go is too old for these; a machine without a newer one skips them by name.
go_is_new_enough() {
  local version
  version="$(go env GOVERSION 2>/dev/null)" || return 1
  printf '%s\n' 1.24 "${version#go}" | sort -V -C
}

# Builds package $4 of version $2 into folder $5, the way $3. Chained by hand: `set -e` is off
# in whatever `if` calls.
build() {
  local name="$1" version="$2" how="$3" package="$4" out="$5"
  if [ "$how" = install ]; then
    GOBIN="$out" go install "$package@$version"
    return
  fi
  # The blank import keeps the requirement through `go mod tidy`; the tag keeps it from being compiled.
  cd "$out/.." &&
    printf '//go:build tools\n\npackage tools\n\nimport _ "%s"\n' "$package" >tools.go &&
    go mod init "packhouse/tools/$name" &&
    go mod edit -require "${package%/cmd/*}@$version" &&
    go mod tidy &&
    go build -o "$out/$name" "$package"
}

install_tool() {
  local name="$1" version="$2" how="$3" package="$4"
  local dir work built
  dir="$(tool_dir "$name" "$version")"
  work="$(mktemp -d "$PACKHOUSE_CACHE/tools/.build-XXXXXX")"
  mkdir "$work/bin"
  say "building $name $version"
  if (build "$name" "$version" "$how" "$package" "$work/bin") >&2; then
    # The program is called after its folder: helm, not helm4.
    built="$work/bin/$(basename "$package")"
    [ -x "$built" ] || built="$work/bin/$name"
    mkdir -p "$dir"
    mv "$built" "$dir/$name"
  fi
  rm -rf "$work"
  [ -x "$dir/$name" ]
}

export GOFLAGS="${GOFLAGS:-} -trimpath" CGO_ENABLED=0
mkdir -p "$PACKHOUSE_CACHE/tools"
exec 9>"$PACKHOUSE_CACHE/tools/.lock"
flock 9
renice -n 10 -p $$ >/dev/null 2>&1 || true

failed=()
while read -r name version how package; do
  wanted "$name" "$@" || continue
  [ -x "$(tool_dir "$name" "$version")/$name" ] && continue
  if ! go_is_new_enough; then
    say "SKIP $name: no Go 1.24 or newer on the PATH to build it"
    failed+=("$name")
  elif ! install_tool "$name" "$version" "$how" "$package" </dev/null; then
    say "FAIL $name $version: did not build"
    failed+=("$name")
  fi
done < <(go_tools)

# A developer may go without; CI may not.
if [ ${#failed[@]} -gt 0 ] && [ "${CI:-}" = true ]; then
  say "missing in CI: ${failed[*]}"
  exit 1
fi
