//! Which replica has a day.

mod etcd;
mod postgres;
mod redis;

use std::fmt::Display;
use std::time::Duration;

use async_trait::async_trait;
use chrono::NaiveDate;
use tokio::time::{Instant, timeout};

use crate::error::LockError;

pub use etcd::EtcdDays;
pub use postgres::PgDays;
pub use redis::RedisDays;

/// How long a server is given to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The fences of the version before this one were the microseconds since 1970.
const FENCES_FROM: u64 = 2_000_000_000_000_000;

/// A day that was taken.
#[derive(Clone, Debug)]
pub struct Grip {
    pub day: NaiveDate,
    pub token: String,
    pub fence: u64,
    /// etcd's.
    pub lease: i64,
    /// When the server was asked.
    pub asked: Instant,
}

/// What comes of reaching for a day.
#[derive(Clone, Debug)]
pub enum Take {
    Taken(Grip),
    /// By the run with this token.
    Held(String),
    Done,
}

/// All of these may be said again when the answer was lost. What is said by a run that has lost its day changes nothing.
#[async_trait]
pub trait DayLock: Send + Sync {
    async fn take(&self, day: NaiveDate, token: &str) -> Result<Take, LockError>;

    /// Whether the day is still the run's.
    async fn renew(&self, grip: &Grip) -> Result<bool, LockError>;

    /// The report is published. False: another one has the day, or had it since.
    async fn done(&self, grip: &Grip) -> Result<bool, LockError>;

    /// The day is free. False as above.
    async fn release(&self, grip: &Grip) -> Result<bool, LockError>;
}

async fn answer<T, E: Display>(question: impl Future<Output = Result<T, E>>) -> Result<T, LockError> {
    match timeout(PATIENCE, question).await {
        Ok(answer) => answer.map_err(LockError::backend),
        Err(late) => Err(LockError::backend(late)),
    }
}
