#!/bin/sh
# The interface of the public Redis image: options alone mean `redis-server` with them; root drops to `redis`.
set -eu

if [ "${1#-}" != "${1:-}" ]; then
    set -- redis-server "$@"
fi
if [ "${1:-}" = redis-server ] && [ "$(id -u)" = 0 ]; then
    chown redis . 2>/dev/null || true
    # The public image has no protected mode either: other containers of the network are meant to reach it.
    exec setpriv --reuid=redis --regid=redis --init-groups "$@" --protected-mode no
fi
exec "$@"
