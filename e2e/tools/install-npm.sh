#!/usr/bin/env bash
# `install-npm.sh FOLDER`: puts the packages that the folder's package-lock.json pins into the cache, and prints the `node_modules`.
# Nothing is installed outside ${XDG_CACHE_HOME:-~/.cache}/clew, and no package's own script is run.
set -euo pipefail
if ! command -v npm >/dev/null; then
  echo "npm is not here: install Node.js 18 or later (Debian: apt-get install nodejs npm)." >&2
  exit 1
fi
lock=$(sha256sum "$1/package-lock.json" | cut -c1-12)
home=${XDG_CACHE_HOME:-$HOME/.cache}/clew/npm-$lock
if [ ! -d "$home/node_modules" ]; then
  echo "Fetching what $1/package-lock.json pins into $home …" >&2
  mkdir -p "$home"
  work=$(mktemp -d "$home/.fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  cp "$1/package.json" "$1/package-lock.json" "$work"
  npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund >&2
  mv "$work/node_modules" "$home/node_modules"
fi
echo "$home/node_modules"
