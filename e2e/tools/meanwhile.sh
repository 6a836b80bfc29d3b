#!/usr/bin/env bash
# `meanwhile.sh COMMAND…` runs a command, and beside it, with what that leaves of the machine, puts the parts of a cluster into the cache, once. It
# ends with the command, and as the command does.
set -euo pipefail
# A process group of its own, so that all of it ends with this script.
set -m
nice -n 19 "$(dirname "$0")/install-cluster.sh" >/dev/null </dev/null &
beside=$!
set +m
finish() {
  [[ -n $(jobs -rp) ]] || return 0
  kill -- "-$beside" 2>/dev/null || true
  wait "$beside" || true
}
trap finish EXIT
"$@"
