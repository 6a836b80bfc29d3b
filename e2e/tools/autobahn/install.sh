#!/usr/bin/env bash
# Puts Autobahn|Testsuite, on a Python 3, into the cache, and prints the folder: `venv/bin/python`, `fuzz.py` and `echo.py` in it.
# Everything is pinned by content; nothing is installed outside ${XDG_CACHE_HOME:-~/.cache}/clew.
set -euo pipefail
cd "$(dirname "$0")"
if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
  echo "Autobahn|Testsuite needs python3 with venv. Install it (Debian: apt-get install python3-venv)." >&2
  exit 1
fi
python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
key=$(cat ./*.sh ./*.py ./*.txt | sha256sum | cut -c1-12)
home=${XDG_CACHE_HOME:-$HOME/.cache}/clew/autobahn-$key-python$python
if [ ! -e "$home/ready" ]; then
  echo "Fetching Autobahn|Testsuite from PyPI into $home …" >&2
  rm -rf "$home"
  mkdir -p "$home"
  python3 -m venv "$home/venv" >&2
  pip=("$home/venv/bin/python" -m pip --quiet --disable-pip-version-check)
  "${pip[@]}" install --require-hashes --only-binary=:all: --requirement requirements.txt >&2
  "${pip[@]}" download --require-hashes --no-deps --no-build-isolation --no-binary=:all: --dest "$home" --requirement sources.txt >&2
  echo "Converting it to Python $python …" >&2
  "$home/venv/bin/python" convert.py "$home" "$home/lib" >&2
  cp ./*.py "$home/"
  touch "$home/ready"
fi
echo "$home"
