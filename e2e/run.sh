#!/usr/bin/env bash
# The end-to-end tests. `run.sh [standalone|autobahn]…`: which of them; none named: all. The last line is `N passed, N failed, N skipped`.
# CLEW_BIN and CLEW_ENVOY say what to test (the Makefile sets them); CLEW_E2E_FULL=1 asks for the full sizes;
# CLEW_E2E_THREADS says how many tests run side by side.
set -uo pipefail
cd "$(dirname "$0")/.."
groups=("$@")
[[ $# -gt 0 ]] || groups=(standalone autobahn)
tests=()
for group in "${groups[@]}"; do
  case $group in
  standalone) tests+=(--test vocabulary --test standalone) ;;
  autobahn) tests+=(--test autobahn) ;;
  *)
    echo "there are no tests named $group: standalone autobahn" >&2
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
    ;;
  esac
done
log=$(mktemp)
trap 'rm -f "$log"' EXIT
ulimit -Sn "$(ulimit -Hn)"
${CARGO:-cargo} test --profile e2e --locked --no-fail-fast -p clew-e2e "${tests[@]}" -- \
  --show-output --test-threads="${CLEW_E2E_THREADS:-2}" 2>&1 | tee "$log"
status=$?
awk -v status=$status -v programs=$((${#tests[@]} / 2)) '
  /^test result: / { runs++; passed += $4; failed += $6; skipped += $8 }
  END {
    # A build that failed, or a program that died, is a failure too.
    if ((status != 0 && failed == 0) || runs < programs) failed++
    printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
    exit failed != 0
  }' "$log"
