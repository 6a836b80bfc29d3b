#!/usr/bin/env bash
# Three servers of the example whose folder this is run in. `../servers.sh start`; `restart`: one after the other, as it is done without Clew; `roll`: the same, but
# each of them is drained first; `stop`. A number behind it: that one only. PODS is what the pods are called in manifests/, without their numbers; SERVER, where there are several, the server's file.
set -euo pipefail
: "${PODS:?what the pods are called in manifests/}" "${SERVER:=server.js}"
mkdir -p run

start() {
  # What the one before said is not what this one says.
  : >"run/$1.log"
  PORT=900$1 node "$SERVER" >"run/$1.log" 2>&1 &
  until grep -q listening "run/$1.log"; do
    kill -0 $! || { cat "run/$1.log" >&2; exit 1; }
    sleep 0.1
  done
  # One that never listened is not the one that is stopped.
  echo $! >"run/$1.pid"
}

stop() {
  kill "$(cat "run/$1.pid")"
  while kill -0 "$(cat "run/$1.pid")" 2>/dev/null; do sleep 0.1; done
}

for n in ${2:-1 2 3}; do
  case ${1-} in
  start) start $n ;;
  restart) stop $n && start $n ;;
  roll)
    clew drain "$PODS-$n" --watch
    stop $n && start $n
    clew drain "$PODS-$n" --cancel
    ;;
  stop) stop $n ;;
  *) echo "servers.sh start|restart|roll|stop [NUMBER]" >&2 && exit 2 ;;
  esac
done
