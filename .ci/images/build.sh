#!/bin/sh
# Builds the six images that the services run in, under the public images' names and with their interface, from the
# distribution's packages (DynamoDB's from the workbook's own program): for machines that have a container daemon and a
# package mirror, but no image registry.
#
#   .ci/images/build.sh              builds those that the daemon does not have yet
#   .ci/images/build.sh --force      builds them again
#
# It installs nothing. The names are those of harness/services/src/container.rs, with the same overrides from the environment.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
suite=${WAR_STORIES_SUITE:-bookworm}
mirror=${WAR_STORIES_MIRROR:-}
force=no
[ "${1:-}" = "--force" ] && force=yes

postgres=${WAR_STORIES_IMAGE_POSTGRES:-postgres:15-bookworm}
redis=${WAR_STORIES_IMAGE_REDIS:-redis:7.0-bookworm}
pgbouncer=${WAR_STORIES_IMAGE_PGBOUNCER:-edoburu/pgbouncer:1.18.0}
dynamodb=${WAR_STORIES_IMAGE_DYNAMODB:-amazon/dynamodb-local:2.5.2}
etcd=${WAR_STORIES_IMAGE_ETCD:-quay.io/coreos/etcd:v3.4.23}
zookeeper=${WAR_STORIES_IMAGE_ZOOKEEPER:-zookeeper:3.8}

missing=""
command -v docker >/dev/null 2>&1 || missing="$missing docker.io"
command -v mmdebstrap >/dev/null 2>&1 || missing="$missing mmdebstrap"
if [ -n "$missing" ]; then
    echo "build.sh: missing:$missing; type: apt-get install --yes$missing" >&2
    exit 4
fi
if ! docker version >/dev/null 2>&1; then
    echo "build.sh: no container daemon answers; type: dockerd &   (or start it as a service)" >&2
    exit 4
fi

# The shared base: no recommended packages, no documentation, no cluster made by the PostgreSQL package itself.
bootstrap() { # packages, further mmdebstrap options …
    packages=$1
    shift
    mmdebstrap --quiet --variant=apt --include="$packages" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --essential-hook='mkdir -p "$1/etc/postgresql-common"' \
        --essential-hook='echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.conf"' \
        --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' \
        "$@" "$suite" - ${mirror:+"$mirror"}
}

wanted() { # image
    if [ "$force" = no ] && docker image inspect "$1" >/dev/null 2>&1; then
        echo "$1: there already"
        return 1
    fi
    echo "$1: building"
}

entry() { # name of the entry point in this folder: a customize hook that copies it in, executable
    printf 'install -m 755 "%s" "$1/usr/local/bin/docker-entrypoint.sh"' "$here/$1"
}

if wanted "$postgres"; then
    bootstrap postgresql-15 --customize-hook="$(entry postgres-entrypoint.sh)" \
        --customize-hook='mkdir -p "$1/var/lib/postgresql/data"' |
        docker import \
            --change 'ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
            --change 'ENV PGDATA=/var/lib/postgresql/data' --change 'VOLUME /var/lib/postgresql/data' \
            --change 'EXPOSE 5432' --change 'ENTRYPOINT ["docker-entrypoint.sh"]' --change 'CMD ["postgres"]' \
            - "$postgres"
fi

if wanted "$redis"; then
    bootstrap redis-server --customize-hook="$(entry redis-entrypoint.sh)" --customize-hook='mkdir -p "$1/data"' |
        docker import --change 'WORKDIR /data' --change 'VOLUME /data' --change 'EXPOSE 6379' \
            --change 'ENTRYPOINT ["docker-entrypoint.sh"]' --change 'CMD ["redis-server"]' \
            - "$redis"
fi

if wanted "$pgbouncer"; then
    bootstrap pgbouncer --customize-hook='ln -sf /usr/sbin/pgbouncer "$1/usr/bin/pgbouncer"' \
        --customize-hook='chmod 755 "$1/etc/pgbouncer"' |
        docker import --change 'USER postgres' --change 'EXPOSE 5432' \
            --change 'CMD ["/usr/bin/pgbouncer", "/etc/pgbouncer/pgbouncer.ini"]' \
            - "$pgbouncer"
fi

if wanted "$etcd"; then
    bootstrap etcd-server --customize-hook='ln -sf /usr/bin/etcd "$1/usr/local/bin/etcd"' |
        docker import --change 'EXPOSE 2379 2380' --change 'CMD ["/usr/local/bin/etcd"]' \
            - "$etcd"
fi

# The archives without what the library's package depends on (a web server among it): a Java and six of them will do.
if wanted "$zookeeper"; then
    bootstrap openjdk-17-jre-headless \
        --essential-hook='mkdir -p "$1/usr/share/man/man1"' \
        --customize-hook='cd "$1/tmp" && chroot "$1" sh -c "cd /tmp && apt-get -qq update && apt-get -qq download libzookeeper-java libslf4j-java libdropwizard-metrics-java libsnappy-java"' \
        --customize-hook='for deb in "$1"/tmp/*.deb; do dpkg-deb -x "$deb" "$1"; rm "$deb"; done' \
        --customize-hook='chroot "$1" useradd --system --user-group --no-create-home zookeeper' \
        --customize-hook="$(entry zookeeper-entrypoint.sh)" --customize-hook='mkdir -p "$1/data" "$1/conf"' \
        --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' |
        docker import --change 'EXPOSE 2181' --change 'VOLUME /data' --change 'ENTRYPOINT ["docker-entrypoint.sh"]' \
            --change 'CMD ["zkServer.sh", "start-foreground"]' \
            - "$zookeeper"
fi

# The public image runs `java -jar DynamoDBLocal.jar …`: here `java` is a script that starts the workbook's own program.
if wanted "$dynamodb"; then
    (cd "$here/../.." && cargo build --quiet --package dynamodb)
    program="${CARGO_TARGET_DIR:-$here/../../target}/debug/dynamodb"
    bootstrap libgcc-s1 \
        --customize-hook="install -m 755 '$program' \"\$1/usr/local/bin/dynamodb\"" \
        --customize-hook="install -m 755 '$here/dynamodb-entrypoint.sh' \"\$1/usr/local/bin/java\"" \
        --customize-hook='mkdir -p "$1/home/dynamodblocal"' |
        docker import --change 'WORKDIR /home/dynamodblocal' --change 'EXPOSE 8000' \
            --change 'ENTRYPOINT ["java"]' --change 'CMD ["-jar", "DynamoDBLocal.jar", "-inMemory"]' \
            - "$dynamodb"
fi
