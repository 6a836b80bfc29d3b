#!/usr/bin/env bash
# Puts Debian's NGINX and HAProxy, with the libraries that few machines have, into the cache, and prints the folder: bin/nginx and bin/haproxy.
# Nothing is installed outside ${XDG_CACHE_HOME:-~/.cache}/clew.
set -euo pipefail
home=${XDG_CACHE_HOME:-$HOME/.cache}/clew/balancers
if [ ! -x "$home/bin/haproxy" ]; then
  if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "NGINX and HAProxy come as Debian packages, and apt-get and dpkg are not here." >&2
    exit 1
  fi
  echo "Fetching NGINX and HAProxy from Debian into $home …" >&2
  mkdir -p "$home"
  work=$(mktemp -d "$home/.fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  packages=(nginx haproxy)
  for library in $(apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances haproxy nginx |
    sed -n 's/^ *Depends: \(liblua[^ ]*\|libopentracing[^ ]*\|libpcre2-8[^ ]*\)$/\1/p' | sort -u); do
    packages+=("$library")
    # What a library itself needs of the same name.
    for deeper in $(apt-cache depends "$library" | sed -n 's/^ *Depends: \(libopentracing[^ ]*\)$/\1/p'); do
      packages+=("$deeper")
    done
  done
  (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}" >&2)
  for package in "$work"/*.deb; do
    dpkg -x "$package" "$home/root"
  done
  mkdir -p "$home/bin"
  for name in nginx haproxy; do
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$(find "$home/root/usr/lib" -name 'liblua*.so*' -printf '%h\n' -quit)" \
      "$home/root/usr/sbin/$name" >"$work/$name"
    chmod +x "$work/$name"
    "$work/$name" -v >&2
    mv "$work/$name" "$home/bin/$name"
  done
fi
echo "$home"
