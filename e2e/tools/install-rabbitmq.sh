#!/usr/bin/env bash
# Puts Debian's RabbitMQ and the Erlang that it runs on into the cache, and prints the folder with `rabbitmq-server` and `epmd`.
set -euo pipefail
bin=$("$(dirname "$0")/install-debian.sh" rabbitmq erlang- rabbitmq-server)

# Debian's starters become another user, and look for Erlang in /usr/lib. Those of RabbitMQ itself take the `erl` that is first on the PATH.
start() { # NAME PROGRAM
  cat >"$bin/.$1.$$" <<END
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
root=\$(dirname "\$here")/root
export ROOTDIR="\$root/usr/lib/erlang" EMU=beam PROGNAME=erl PATH="\$here:\$PATH"
BINDIR=\$(echo "\$ROOTDIR"/erts-*/bin)
export BINDIR
exec $2 "\$@"
END
  chmod +x "$bin/.$1.$$"
  mv "$bin/.$1.$$" "$bin/$1"
}
start rabbitmq-server '"$root"/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server'
start erl '"$BINDIR/erlexec"'
start epmd '"$BINDIR/epmd"'
echo "$bin"
