#!/usr/bin/env bash
# Puts Debian's NATS into the cache, and prints the folder with `nats-server`.
exec "$(dirname "$0")/install-debian.sh" nats '' nats-server
