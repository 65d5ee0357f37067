#!/usr/bin/env bash
# Runs every fuzz target for some seconds (default 10): tests/fuzz/run.sh [SECONDS] [TARGET…]
# Coverage comes from LLVM's own pass, which the pinned stable toolchain has; a nightly adds the address sanitizer:
# FUZZ_TOOLCHAIN=nightly-2026-11-01 tests/fuzz/run.sh
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
. "$root/.ci/setup/env.sh"
seconds="${1:-10}"
shift $(($# > 0 ? 1 : 0))
if [ $# -eq 0 ]; then set -- paths references ranges manifests auth_headers; fi

flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
cargo=(cargo)
if [ -n "${FUZZ_TOOLCHAIN:-}" ]; then
  cargo=(cargo "+$FUZZ_TOOLCHAIN")
  flags+=" -Zsanitizer=address"
fi
# A target is named, so that the flags reach the targets and not the build scripts.
triple="$(rustc -vV | sed -n 's/^host: //p')"
target="$PACKHOUSE_CACHE/fuzz-target"
cd "$root/tests/fuzz"
# The first build takes minutes; what it compiles is nobody's concern.
echo "building the fuzz targets"
RUSTFLAGS="$flags" "${cargo[@]}" build --quiet --release --locked --target "$triple" --target-dir "$target"

for name in "$@"; do
  corpus="$PACKHOUSE_CACHE/fuzz-corpus/$name"
  mkdir -p "$corpus" "$PACKHOUSE_CACHE/fuzz-artifacts"
  log="$PACKHOUSE_CACHE/fuzz-artifacts/$name.log"
  if ! "$target/$triple/release/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -verbosity=0 -max_len=8192 -artifact_prefix="$PACKHOUSE_CACHE/fuzz-artifacts/$name-" \
    "$corpus" "seeds/$name" >"$log" 2>&1; then
    # The panic, and the line that names the input.
    tail -n 60 "$log"
    echo "fuzz $name: failed"
    exit 1
  fi
  echo "fuzz $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s"
done
