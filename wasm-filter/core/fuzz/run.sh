#!/usr/bin/env bash
# Fuzzes one target and adds what it did to bench/results/fuzz.json.
#
#   run.sh TARGET RUNS      SEED=n repeats a run, MAX_LEN=n bounds an input's bytes
#
# Seeds are in corpus/TARGET; what libFuzzer finds beyond them stays in target/corpus, an input that fails in artifacts.
set -euo pipefail

target=${1:?which target: a name in fuzz_targets}
runs=${2:?how many executions}
seed=${SEED:-$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')}
cd "$(dirname "$0")"
results=../../../bench/results/fuzz.json

export RUSTUP_TOOLCHAIN=nightly
rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz@0.13.2

case $target in
session_key | jwt) max_len=${MAX_LEN:-12000} ;; # beyond what is read of cookies, targets and tokens
frame) max_len=${MAX_LEN:-64} ;;          # several frames, and many more executions in a second
*) max_len=${MAX_LEN:-1024} ;;
esac
found=target/corpus/$target
mkdir -p "$found" "$(dirname "$results")"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Without a sanitizer: the crates have no unsafe code, and there are more executions in a minute.
status=0
cargo fuzz run --fuzz-dir . --target-dir target --sanitizer none "$target" "$found" "corpus/$target" -- \
    -runs="$runs" -seed="$seed" -max_len="$max_len" -print_final_stats=1 -verbosity=1 2>&1 | tee "$log" | grep -vE '^#|# Uses:' || status=$?

executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
python3 - "$results" "$target" "${executions:-0}" "$(find "corpus/$target" "$found" -type f | wc -l)" "$seed" "$status" <<'PY'
import json, pathlib, sys

path, target, executions, corpus, seed, status = sys.argv[1:]
path = pathlib.Path(path)
results = json.loads(path.read_text()) if path.exists() else {"targets": {}}
entry = results["targets"].setdefault(target, {"executions": 0, "panics": 0})
entry["executions"] += int(executions)
entry["corpus"] = int(corpus)
entry["seed"] = int(seed)
entry["panics"] += int(status != "0")
results["total"] = sum(entry["executions"] for entry in results["targets"].values())
path.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
print(f"{target}: {executions} executions now, {entry['executions']} in all, {entry['panics']} panics, seed {seed}")
PY
exit "$status"
