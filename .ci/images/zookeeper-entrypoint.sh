#!/bin/sh
# The interface of the public ZooKeeper image: settings by variables, `zkServer.sh start-foreground`, root drops to
# `zookeeper`.
set -eu

conf=${ZOO_CONF_DIR:-/conf}/zoo.cfg
data=${ZOO_DATA_DIR:-/data}
if [ "${1:-}" = zkServer.sh ]; then
    mkdir -p "$(dirname "$conf")" "$data"
    if [ ! -f "$conf" ]; then
        {
            echo "dataDir=$data"
            echo "clientPort=2181"
            echo "tickTime=${ZOO_TICK_TIME:-2000}"
            echo "maxClientCnxns=${ZOO_MAX_CLIENT_CNXNS:-60}"
            echo "standaloneEnabled=${ZOO_STANDALONE_ENABLED:-true}"
            echo "admin.enableServer=${ZOO_ADMINSERVER_ENABLED:-true}"
            if [ -n "${ZOO_4LW_COMMANDS_WHITELIST:-}" ]; then
                echo "4lw.commands.whitelist=$ZOO_4LW_COMMANDS_WHITELIST"
            fi
            for setting in ${ZOO_CFG_EXTRA:-}; do echo "$setting"; done
        } >"$conf"
    fi
    archives=/usr/share/java
    set -- java ${JVMFLAGS:-} ${SERVER_JVMFLAGS:-} -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
        -cp "$archives/zookeeper.jar:$archives/zookeeper-jute.jar:$archives/slf4j-api.jar:$archives/slf4j-simple.jar:$archives/metrics-core.jar:$archives/snappy-java.jar" \
        org.apache.zookeeper.server.ZooKeeperServerMain "$conf"
    if [ "$(id -u)" = 0 ]; then
        chown -R zookeeper "$data"
        exec setpriv --reuid=zookeeper --regid=zookeeper --clear-groups "$@"
    fi
fi
exec "$@"
