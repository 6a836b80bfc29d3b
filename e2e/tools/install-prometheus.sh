#!/usr/bin/env bash
# Puts this Debian's Prometheus into the cache, and prints the folder with `prometheus` and `promtool`; where both are on the PATH, theirs.
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
  dirname "$(command -v promtool)"
  exit
fi
exec "$(dirname "$0")/install-debian.sh" prometheus '' prometheus
