//! Which replica has a day.

mod postgres;
mod redis;
mod zookeeper;

use async_trait::async_trait;
use chrono::NaiveDate;

use crate::error::LockError;

pub use postgres::PgDays;
pub use redis::RedisDays;
pub use zookeeper::{Session, ZooKeeperDays};

/// What comes of reaching for a day.
#[derive(Debug)]
pub enum Take {
    Taken(Lease),
    Held { by: String },
    Done,
}

/// A day that was taken.
#[derive(Clone, Debug)]
pub struct Lease {
    pub day: NaiveDate,
    /// Larger with every taking of the day, by whomever. Every word about the lease carries it, and whoever has it says
    /// no to those that carry another one.
    pub fence: u64,
    /// ZooKeeper's session, which ends, and its node with it, when the last clone of this is dropped.
    pub session: Option<Session>,
}

#[async_trait]
pub trait DayLock: Send + Sync {
    async fn take(&self, day: NaiveDate) -> Result<Take, LockError>;

    /// Another `ttl` from now on; whether the day was still ours.
    async fn renew(&self, lease: Lease) -> Result<bool, LockError>;

    /// The report is published: nobody takes the day again. Whether it was still ours.
    async fn done(&self, lease: Lease) -> Result<bool, LockError>;

    /// There is no report: whoever comes next takes the day. Nothing, if it was not ours any more.
    async fn free(&self, lease: Lease) -> Result<(), LockError>;
}
