#!/usr/bin/env bash
# The end-to-end tests. `run.sh [standalone|autobahn|migrate|istio|envoy-gateway|chart|recipes]… [-- ARGUMENT…]`: which of them (none named: all), and what
# their programs are told, such as the name of one test. The last line is `N passed, N failed, N skipped`.
# CLEW_BIN and CLEW_ENVOY say what to test (the Makefile sets them), CLEW_CLUSTER where the parts of a cluster are (else they are installed);
# CLEW_E2E_FULL=1 asks for the full sizes; CLEW_E2E_THREADS says how many tests of a list run side by side.
set -uo pipefail
cd "$(dirname "$0")/.."
all=(standalone autobahn migrate istio envoy-gateway chart recipes)
groups=() here=() istio=() gateways=() recipes=() cluster= browser=
while [[ $# -gt 0 && $1 != -- ]]; do
  groups+=("$1")
  shift
done
[[ $# -gt 0 ]] && shift
[[ ${#groups[@]} -gt 0 ]] || groups=("${all[@]}")
for group in "${groups[@]}"; do
  case $group in
  standalone) here+=(--test vocabulary --test standalone) browser=1 ;;
  autobahn) here+=(--test autobahn) ;;
  migrate)
    here+=(--test migrated)
    # Where that fails every test says what it lacks.
    CLEW_BALANCERS=$(e2e/tools/install-balancers.sh) && export CLEW_BALANCERS
    ;;
  istio) istio+=(--test rendered --test istio) cluster=1 browser=1 ;;
  envoy-gateway) gateways+=(--test envoy_gateway) cluster=1 ;;
  chart)
    gateways+=(--test chart) cluster=1
    CLEW_PROMETHEUS=$(e2e/tools/install-prometheus.sh) && export CLEW_PROMETHEUS
    ;;
  recipes)
    recipes+=(--test recipes)
    # From inside a namespace nothing can be fetched. Where that fails every test says what it lacks.
    for tool in redis nats kafka rabbitmq; do "e2e/tools/install-$tool.sh" >/dev/null; done
    for pins in examples/*/package-lock.json; do e2e/tools/install-npm.sh "$(dirname "$pins")" >/dev/null; done
    ;;
  *)
    echo "there are no tests named $group: ${all[*]}" >&2
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
    ;;
  esac
done
log=$(mktemp)
others=()
trap 'for other in "${others[@]}"; do kill -- "-$other" 2>/dev/null; done; rm -f "$log" "$log".*' EXIT
ulimit -Sn "$(ulimit -Hn)"
# What an error says is read, not where in a runtime it was made.
export RUST_LIB_BACKTRACE=${RUST_LIB_BACKTRACE-0}
status=0
if [[ -n $browser ]]; then
  # Where that fails the tests of the status page say what they lack.
  CLEW_CHROMIUM=$(e2e/tools/install-chromium.sh) && export CLEW_CHROMIUM
fi
# The packages that unit tests name, too: for other ones cargo would compile what they depend on anew.
cargo=(${CARGO:-cargo} test --profile e2e --locked --no-fail-fast --workspace --exclude clew-filter)
# Istio's are the most: where all of them run, a second cluster has half of them.
half=()
[[ ${#istio[@]} == 0 || $# != 0 ]] ||
  half=(controller::{groups,guide,killed,misses,mistakes,module,mtls,namespaces,neighbours,operate,own_gateway,proxies,reasons,service_parent,sessions,silent,status_page,tools,traces,verified}::)
# A cluster runs in a network namespace, and its tests in there with it; recipes, because they use the ports that they name.
namespaced=(--config "target.'cfg(unix)'.runner = '$PWD/e2e/namespace.sh'")
told=(--show-output --test-threads="${CLEW_E2E_THREADS:-2}" "$@")
run() {
  "${cargo[@]}" "$@" 2>&1 | tee -a "$log"
}
# A list of programs that runs beside what comes after it; what it says is shown when that has ended.
beside() {
  : >"$log.${#others[@]}"
  # A process group of its own, so that it ends with this script.
  set -m
  "${cargo[@]}" "$@" >"$log.${#others[@]}" 2>&1 &
  others+=($!)
  set +m
}
run_all() {
  # All is built before anything runs.
  "${cargo[@]}" --no-run "${here[@]}" "${istio[@]}" "${gateways[@]}" "${recipes[@]}" || return
  local ended=0 other
  [[ ${#here[@]} == 0 ]] || run "${here[@]}" -- "${told[@]}" || ended=$?
  # The sentences of a list wait for one another, and mostly for time to pass: other lists have room beside it.
  [[ ${#recipes[@]} == 0 ]] || beside "${namespaced[@]}" "${recipes[@]}" -- "${told[@]}"
  if [[ -n $cluster && -z ${CLEW_CLUSTER-} ]]; then
    # Where that fails every test says what it lacks.
    CLEW_CLUSTER=$(e2e/tools/install-cluster.sh) || ended=$?
    export CLEW_CLUSTER
  fi
  [[ ${#gateways[@]} == 0 ]] || beside "${namespaced[@]}" "${gateways[@]}" -- "${told[@]}"
  [[ ${#half[@]} == 0 ]] || beside "${namespaced[@]}" --test istio -- "${told[@]}" "${half[@]}"
  [[ ${#istio[@]} == 0 ]] || run "${namespaced[@]}" "${istio[@]}" -- "${told[@]}" "${half[@]/#/--skip=}" || ended=$?
  for other in "${!others[@]}"; do
    [[ ${#istio[@]} == 0 && ${#others[@]} == 1 ]] || echo "== beside it"
    tail -n +1 -f --pid="${others[other]}" "$log.$other" | tee -a "$log"
    wait "${others[other]}" || ended=$?
  done
  others=()
  return $ended
}
run_all || status=$?
# What failed is said again where people look first: just above the last line.
awk '
  /^failures:$/ { failures = !failures; next }
  /^test result: / { failures = 0 }
  failures && /^---- / { lines = 0 }
  failures && lines++ < 40 { print substr($0, 1, 600) }' "$log"
awk -v status=$status -v programs=$(((${#here[@]} + ${#istio[@]} + ${#gateways[@]} + ${#recipes[@]}) / 2 + (${#half[@]} > 0))) '
  /^test result: / { runs++; passed += $4; failed += $6; skipped += $8 }
  END {
    # A build that failed, or a program that died, is a failure too.
    if ((status != 0 && failed == 0) || runs < programs) failed++
    printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
    exit failed != 0
  }' "$log"
