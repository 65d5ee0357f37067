# To be sourced: puts the cached tools on the PATH and points builds at the cached RocksDB.
#   . .ci/setup/env.sh
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export PACKHOUSE_CACHE
# Debian 12 keeps dockerd and containerd's helpers here, which a user's PATH may lack.
case ":$PATH:" in *:/usr/sbin:*) ;; *) PATH="$PATH:/usr/sbin:/sbin" ;; esac
while read -r name version _; do
  dir="$(tool_dir "$name" "$version")"
  case ":$PATH:" in *":$dir:"*) ;; *) PATH="$dir:$PATH" ;; esac
done < <(PACKHOUSE_HELM4=1 go_tools)
PATH="$(tool_dir cargo-deny "$CARGO_DENY_VERSION"):$(tool_dir octokit "$OCTOKIT_VERSION"):$PATH"
unset name version dir
export PATH

# Unset while the library is not there: cargo then builds RocksDB itself instead of failing to link.
if [ -f "$(rocksdb_dir)/librocksdb.a" ]; then
  ROCKSDB_LIB_DIR="$(rocksdb_dir)"
  export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
fi
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PACKHOUSE_CACHE/target}"
