#!/usr/bin/env bash
# Puts Debian's Redis into the cache, and prints the folder with `redis-server` and `redis-cli`. Nothing is installed outside
# ${XDG_CACHE_HOME:-~/.cache}/clew, and nobody has to be root, except to refresh apt's lists where there are none.
set -euo pipefail
home=${XDG_CACHE_HOME:-$HOME/.cache}/clew/redis
if [ ! -x "$home/bin/redis-server" ]; then
  if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "Redis comes from Debian's packages, and apt-get is not here: put a redis-server on the PATH." >&2
    exit 1
  fi
  echo "Fetching Redis from Debian into $home …" >&2
  mkdir -p "$home"
  work=$(mktemp -d "$home/.fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work"
  packages=(redis-server redis-tools liblzf1 libjemalloc2 libatomic1)
  fetch() { (cd "$work" && apt-get -qq download "${packages[@]}" >&2); }
  fetch || { apt-get -qq update >&2 && fetch; }
  for package in "$work"/*.deb; do dpkg -x "$package" "$work/root"; done
  mkdir "$work/bin"
  for program in redis-server redis-cli; do
    # The libraries lie beside it, in a folder that is named after the architecture.
    cat >"$work/bin/$program" <<'END'
#!/bin/sh
home=$(dirname "$(readlink -f "$0")")/..
for folder in "$home"/root/usr/lib/*-linux-gnu*; do LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}; done
export LD_LIBRARY_PATH
exec "$home/root/usr/bin/$(basename "$0")" "$@"
END
    chmod +x "$work/bin/$program"
  done
  "$work/bin/redis-server" --version >&2
  rm -rf "${home:?}/root" "${home:?}/bin"
  mv "$work/root" "$home/root"
  mv "$work/bin" "$home/bin"
fi
echo "$home/bin"
