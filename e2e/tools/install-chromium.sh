#!/usr/bin/env bash
# Puts Debian's Chromium without windows into the cache, and prints the folder with `chromium-headless-shell`. It finds its libraries and a font there.
set -euo pipefail
libraries='lib(a|b|cap2|d(av|bus|ouble|rm2)|e(dit|xpat)|f|g(bm|crypt|lib2|pg|raphite)|h|icu|j|l(cms|z)|m(d0|inizip|ount|p3|pg)|nspr|nss|o|p(cre|ng|ulse)|s(elinux|ndfile|ystemd)|u(dev|uid)|v|w'
libraries+='|x(11-|au|cb|composite|damage|dmcp|ext6|fixes|i6|kbcommon0|ml2|nv|randr|render|shmfence)|zstd)|fonts-dejavu-core|xkb-data'
bin=$("$(dirname "$0")/install-debian.sh" chromium "$libraries" chromium-headless-shell chromium-common)
root=${bin%/bin}/root program=$bin/chromium-headless-shell
# The package's own script looks for it in /usr.
if ! grep -q FONTCONFIG_FILE "$program"; then
  echo "<fontconfig><dir>$root/usr/share/fonts</dir><cachedir>${bin%/bin}/fonts</cachedir></fontconfig>" >"$root/fonts.conf"
  cat >"$program.new" <<END_OF_PROGRAM
#!/bin/sh
for folder in "$root"/lib/*-linux-gnu* "$root"/usr/lib/*-linux-gnu* "$root"/usr/lib/*-linux-gnu*/pulseaudio; do
  LD_LIBRARY_PATH=\$folder\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH FONTCONFIG_FILE="$root/fonts.conf"
exec "$root/usr/lib/chromium/chromium-headless-shell" "\$@"
END_OF_PROGRAM
  chmod +x "$program.new"
  mv "$program.new" "$program"
fi
echo "$bin"
