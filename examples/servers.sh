#!/usr/bin/env bash
# The three servers. `servers.sh start`; `restart`: one after the other, as it is done without Clew; `roll`: the same, but each of them
# is drained first; `stop`.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p run

start() {
  PORT=900$1 node server.js >"run/$1.log" 2>&1 &
  echo $! >"run/$1.pid"
  until grep -q listening "run/$1.log"; do
    kill -0 "$(cat "run/$1.pid")" || { cat "run/$1.log" >&2; exit 1; }
    sleep 0.1
  done
}

stop() {
  kill "$(cat "run/$1.pid")"
  while kill -0 "$(cat "run/$1.pid")" 2>/dev/null; do sleep 0.1; done
}

for n in 1 2 3; do
  case ${1-} in
  start) start $n ;;
  restart) stop $n && start $n ;;
  roll)
    clew drain "chat-$n" --watch
    stop $n && start $n
    clew drain "chat-$n" --cancel
    ;;
  stop) stop $n ;;
  *) echo "servers.sh start|restart|roll|stop" >&2 && exit 2 ;;
  esac
done
