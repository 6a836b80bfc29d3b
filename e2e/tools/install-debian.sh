#!/usr/bin/env bash
# `install-debian.sh NAME LIBRARIES PACKAGE…`: puts Debian packages into the cache, with the libraries that they need and that match an expression, as few
# machines have these. Prints the folder with their programs. Nothing is installed outside ${XDG_CACHE_HOME:-~/.cache}/clew, and nobody has to be
# root, except to fetch apt's lists where there are none.
set -euo pipefail
name=$1 libraries=$2
shift 2
home=${XDG_CACHE_HOME:-$HOME/.cache}/clew/debian-$name
if [ ! -d "$home" ]; then
  if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "$* come from Debian's packages, and apt-get and dpkg are not here." >&2
    exit 1
  fi
  echo "Fetching $* from Debian into $home …" >&2
  mkdir -p "$(dirname "$home")"
  work=$(mktemp -d "$home.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work"
  # Lists of packages that are a little old will do; none at all will not.
  [ -n "$(apt-cache search --names-only "^$1\$")" ] || apt-get -qq update >&2
  packages=("$@")
  if [ -n "$libraries" ]; then
    mapfile -t -O $# packages < <(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
      grep -E "^($libraries)[^ ]*\$" | sort -u)
  fi
  fetch() { (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}" >&2); }
  fetch || { apt-get -qq update >&2 && fetch; }
  for package in "$work"/*.deb; do dpkg -x "$package" "$work/root"; done
  rm "$work"/*.deb
  mkdir "$work/bin"
  for program in "$work"/root/usr/bin/* "$work"/root/usr/sbin/*; do
    [ -f "$program" ] || continue
    cat >"$work/bin/${program##*/}" <<END
#!/bin/sh
root=\$(dirname "\$(readlink -f "\$0")")/../root
for folder in "\$root"/usr/lib/*-linux-gnu*; do LD_LIBRARY_PATH=\$folder\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}; done
export LD_LIBRARY_PATH
exec "\$root/${program#"$work"/root/}" "\$@"
END
    chmod +x "$work/bin/${program##*/}"
  done
  mv "$work" "$home"
fi
echo "$home/bin"
