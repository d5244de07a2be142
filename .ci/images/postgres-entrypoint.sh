#!/bin/sh
# The interface of the public PostgreSQL image, as far as the services use it: PGDATA, POSTGRES_USER, POSTGRES_PASSWORD,
# POSTGRES_DB, POSTGRES_INITDB_ARGS, POSTGRES_HOST_AUTH_METHOD; started as root it drops to `postgres`.
set -eu

if [ "${1:-}" != postgres ]; then
    exec "$@"
fi
if [ "$(id -u)" = 0 ]; then
    # /run is emptied when an image is made.
    mkdir -p "$PGDATA" /var/run/postgresql
    chown postgres:postgres /var/run/postgresql
    chown -R postgres:postgres "$PGDATA"
    chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    user=${POSTGRES_USER:-postgres}
    method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$method" != trust ]; then
        echo "postgres: POSTGRES_PASSWORD is not set; set it, or POSTGRES_HOST_AUTH_METHOD=trust" >&2
        exit 1
    fi
    umask 077
    secret=$(mktemp)
    printf '%s\n' "${POSTGRES_PASSWORD:-unused}" >"$secret"
    # Word splitting of POSTGRES_INITDB_ARGS is its interface.
    # shellcheck disable=SC2086
    initdb --username="$user" --pwfile="$secret" ${POSTGRES_INITDB_ARGS:-} -D "$PGDATA"
    rm "$secret"
    printf 'host all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
    if [ "${POSTGRES_DB:-$user}" != postgres ]; then
        printf 'CREATE DATABASE "%s";\n' "${POSTGRES_DB:-$user}" | postgres --single -j -D "$PGDATA" postgres >/dev/null
    fi
fi
exec "$@" -c "listen_addresses=*"
