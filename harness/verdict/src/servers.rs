//! Servers that a check asks for while it runs, and has for itself alone.
//!
//! The check says [`Event::Wants`](crate::wire::Event::Wants); its parent writes one [`Answer`] as a line of JSON to the
//! same socket. A server that no check asks for is not started, and one that a check had is gone with it: counts and
//! flushes of one check are nobody else's.

use serde::{Deserialize, Serialize};

/// A server that a check asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "server", rename_all = "lowercase")]
pub enum Wanted {
    Redis,
    /// In front of `upstream`, `host:port` (a tap, as a rule), with a configuration of the scenario's.
    PgBouncer {
        upstream: String,
        /// Who may log in, and is logged in upstream.
        user: String,
        password: String,
        /// The text of an ini file. Its `[pgbouncer]` section counts, but for what the grader decides: addresses, users
        /// and files.
        config: String,
    },
    Etcd,
    ZooKeeper,
    DynamoDb,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Answer {
    Redis(RedisJob),
    PgBouncer(PgBouncerJob),
    Etcd(EtcdJob),
    ZooKeeper(ZooKeeperJob),
    DynamoDb(DynamoDbJob),
    /// It cannot be had here: the machine's fault.
    Missing {
        reason: String,
    },
    /// The server does not start with the configuration that it was given, and does with its own.
    Refused {
        observed: String,
        log: String,
    },
}

/// A Redis server of one check's own: empty, without a password, without persistence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisJob {
    pub host: String,
    pub port: u16,
}

/// A PgBouncer of one check's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PgBouncerJob {
    pub host: String,
    pub port: u16,
    /// May use the console, database `pgbouncer`.
    pub admin_user: String,
    pub admin_password: String,
}

/// An etcd node of one check's own: empty, without authentication, over plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdJob {
    pub host: String,
    pub port: u16,
}

/// A ZooKeeper node of one check's own: empty, without authentication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZooKeeperJob {
    pub host: String,
    pub port: u16,
}

/// A DynamoDB server of one check's own: empty, without capacity limits, for any credentials, over plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamoDbJob {
    pub host: String,
    pub port: u16,
}
