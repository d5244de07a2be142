//! Which replica has a day.

mod etcd;
mod postgres;
mod redis;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::NaiveDate;
use sqlx::PgConnection;
use tokio::sync::Mutex;

use crate::error::LockError;

pub use etcd::EtcdDays;
pub use postgres::PgDays;
pub use redis::RedisDays;

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
    /// etcd's own number of the lease.
    pub id: i64,
    /// The connection whose transaction has PostgreSQL's lock: it is closed, and both gone, with the last clone of this.
    pub session: Option<Arc<Mutex<PgConnection>>>,
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
