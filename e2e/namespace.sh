#!/usr/bin/env bash
# Runs a command in namespaces of its own: a network whose loopback has 10.77.0.0/16, processes that all end with the command, and
# the folders that parts of a cluster insist on. TMPDIR is a folder that is removed at the end.
set -euo pipefail
say() { echo "$*" >&2; }
for command in ip unshare; do
  if ! command -v $command >/dev/null; then
    say "NOTHING RAN: a cluster runs in a network namespace, which is made with \`$command\`, and that is not here (Debian: apt-get install iproute2 util-linux)."
    exit 1
  fi
done
namespaces=(--net --mount --pid --fork --kill-child --mount-proc)
[[ $(id -u) == 0 ]] || namespaces=(--user --map-root-user "${namespaces[@]}")
if ! refusal=$(unshare "${namespaces[@]}" true 2>&1); then
  say "NOTHING RAN: a cluster runs in namespaces of its own, and none can be made here: $refusal"
  say "Run this as root, or where unprivileged user namespaces are allowed."
  exit 1
fi
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/clew-e2e.XXXXXX")
export TMPDIR CLEW_NAMESPACE=10.77.0.0/16
trap 'rm -rf "$TMPDIR"' EXIT
# pilot-agent keeps modules in /var/lib/istio/data, Envoy Gateway looks for its certificates in /certs, and what runs in a pod for its account's token
# in /var/run/secrets, wherever they run.
unshare "${namespaces[@]}" bash -euc '
  ip link set lo up
  ip address add 10.77.0.1/16 dev lo
  mkdir -p /var/lib/istio
  mount -t tmpfs tmpfs /var/lib/istio
  mkdir /var/lib/istio/data
  mkdir -p /certs
  mount -t tmpfs tmpfs /certs
  mkdir -p /var/run/secrets
  mount -t tmpfs tmpfs /var/run/secrets
  mkdir -p /var/run/secrets/kubernetes.io/serviceaccount
  # Where no cluster DNS runs, names of Services are entered here.
  cp /etc/hosts "$TMPDIR/hosts"
  mount --bind "$TMPDIR/hosts" /etc/hosts
  # This shell is the first process of its namespace: it stays, to collect the orphans.
  "$@" && exit || exit
' namespace "$@"
