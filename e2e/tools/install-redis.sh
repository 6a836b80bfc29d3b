#!/usr/bin/env bash
# Puts Debian's Redis into the cache, and prints the folder with `redis-server` and `redis-cli`.
exec "$(dirname "$0")/install-debian.sh" redis 'liblzf|libjemalloc|libatomic' redis-server redis-tools
