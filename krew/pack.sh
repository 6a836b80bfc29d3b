#!/usr/bin/env bash
# `pack.sh BINARY FOLDER`: the archive that krew installs, of this binary and for this kind of machine, and the manifest that names it, into a folder.
set -euo pipefail
binary=$1 folder=$2
here=$(cd "$(dirname "$0")" && pwd)
version=$("$binary" version -o json | sed -n 's/.*"version": *"\([^"]*\)".*/\1/p')
case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*)
  echo "there is no plugin for $(uname -m)" >&2
  exit 1
  ;;
esac
mkdir -p "$folder"
work=$(mktemp -d "$folder/.pack.XXXXXX")
trap 'rm -rf "$work"' EXIT
cp "$binary" "$work/clew"
cp "$here/../LICENSE" "$work/LICENSE"
archive=$folder/clew-v$version-linux-$arch.tar.gz
# Equal binaries make equal archives.
tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 --directory "$work" clew LICENSE | gzip -n >"$archive"
sha256=$(sha256sum "$archive" | cut -d' ' -f1)
sed -e '/^#/d' -e "s/VERSION/$version/g; s/ARCH/$arch/g; s/SHA256/$sha256/" "$here/clew.yaml" >"$folder/clew.yaml"
echo "$archive"
