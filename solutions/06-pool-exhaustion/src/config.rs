//! How a replica uses the database.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct DbConfig {
    pub url: String,
    /// `url` is PgBouncer's address, not the database's.
    pub via_bouncer: bool,
    /// Connections for requests that this replica may have open at one time.
    pub max_db: usize,
    /// Requests that may wait for their turn in the database.
    pub queue: usize,
    /// How long a request may wait for its turn.
    pub queue_wait: Duration,
    /// How long a request may use the database once it has its turn.
    pub query_deadline: Duration,
    pub breaker: BreakerCfg,
}

#[derive(Clone, Copy, Debug)]
pub struct BreakerCfg {
    /// Failures in a row after which the database counts as down.
    pub failures: u32,
    /// How long it counts as down before a request may try again.
    pub open_for: Duration,
}
