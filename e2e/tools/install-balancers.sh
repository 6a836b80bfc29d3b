#!/usr/bin/env bash
# Puts Debian's NGINX and HAProxy into the cache, and prints the folder with `nginx` and `haproxy`.
exec "$(dirname "$0")/install-debian.sh" balancers 'liblua|libopentracing|libpcre2-8' nginx haproxy
