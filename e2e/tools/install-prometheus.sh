#!/usr/bin/env bash
# Puts Prometheus and promtool of this Debian into the cache, and prints their folder. Nothing is installed outside ${XDG_CACHE_HOME:-~/.cache}/clew;
# where both are on the PATH, those are taken.
set -euo pipefail
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
  dirname "$(command -v promtool)"
  exit
fi
home=${XDG_CACHE_HOME:-$HOME/.cache}/clew/prometheus
if [ ! -x "$home/usr/bin/promtool" ]; then
  if ! command -v apt-get >/dev/null; then
    echo "Prometheus comes from Debian's packages, and apt-get is not here. Put prometheus and promtool on the PATH." >&2
    exit 1
  fi
  echo "Fetching Prometheus from Debian into $home …" >&2
  mkdir -p "$(dirname "$home")"
  work=$(mktemp -d "$home.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  # Lists of packages that are a little old will do; none at all will not.
  (cd "$work" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; }) >&2
  dpkg -x "$work"/prometheus_*.deb "$work/root"
  rm -rf "$home"
  mv "$work/root" "$home"
fi
echo "$home/usr/bin"
