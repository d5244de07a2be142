//! Which replica has a day.

mod etcd;
mod postgres;
mod redis;

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use chrono::NaiveDate;

use crate::error::LockError;

pub use etcd::EtcdDays;
pub use postgres::PgDays;
pub use redis::RedisDays;

/// What comes of reaching for a day.
#[derive(Clone, Debug)]
pub enum Take {
    Taken { fence: u64 },
    Held { by: String },
    Done,
}

#[async_trait]
pub trait DayLock: Send + Sync {
    async fn take(&self, day: NaiveDate) -> Result<Take, LockError>;

    /// The report is published.
    async fn done(&self, day: NaiveDate) -> Result<(), LockError>;
}

/// Later runs have larger numbers.
fn next_fence() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
