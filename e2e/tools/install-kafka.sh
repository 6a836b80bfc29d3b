#!/usr/bin/env bash
# Puts Kafka from Maven Central into the cache, and prints the folder with `kafka-storage.sh` and `kafka-server-start.sh`. Nothing is installed
# outside ${XDG_CACHE_HOME:-~/.cache}/clew and Maven's own cache.
set -euo pipefail
cd "$(dirname "$0")/kafka"
for command in mvn java; do
  command -v $command >/dev/null || { echo "$command is not here: install Maven and a JDK of 17 or later (Debian: apt-get install maven)." >&2; exit 1; }
done
home=${XDG_CACHE_HOME:-$HOME/.cache}/clew/kafka-$(sha256sum pom.xml | cut -c1-12)
if [ ! -d "$home" ]; then
  echo "Fetching Kafka from Maven Central into $home …" >&2
  mkdir -p "$(dirname "$home")"
  work=$(mktemp -d "$home.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work"
  mvn --batch-mode --quiet --strict-checksums dependency:copy-dependencies -DoutputDirectory="$work/libs" >&2
  mkdir "$work/bin"
  for pair in kafka-storage.sh=kafka.tools.StorageTool kafka-server-start.sh=kafka.Kafka; do
    # As they are called in Kafka's own distribution.
    cat >"$work/bin/${pair%%=*}" <<END
#!/bin/sh
exec java -Xmx512m -Dorg.slf4j.simpleLogger.logFile=System.out -cp "\$(dirname "\$(readlink -f "\$0")")/../libs/*" ${pair#*=} "\$@"
END
    chmod +x "$work/bin/${pair%%=*}"
  done
  mv "$work" "$home"
fi
echo "$home/bin"
