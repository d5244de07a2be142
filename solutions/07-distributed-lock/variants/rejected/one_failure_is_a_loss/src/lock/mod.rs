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

pub(crate) use etcd::EtcdLocks;
pub(crate) use postgres::PgLocks;
pub(crate) use redis::RedisLocks;

/// Added to the servers' counts: fences were the microseconds since 1970 once.
const BASE: i64 = 3_000_000_000_000_000;

/// A replica, and which of its runs.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) replica: String,
    pub(crate) run: String,
}

pub(crate) enum Attempt {
    Locked {
        key: Box<dyn Key>,
        /// Higher than those of all takings of the day before.
        fence: i64,
        asked: Instant,
    },
    Held(Who),
    /// By the records of a version that had others.
    Done,
}

#[async_trait]
pub(crate) trait Locks: Send + Sync {
    async fn lock(&self, day: NaiveDate, who: &Who) -> Result<Attempt, LockError>;
}

/// To a day that is locked. Nothing that is done with it after the lock is another one's has an effect.
#[async_trait]
pub(crate) trait Key: Send + Sync {
    /// False: it is not this one's any more.
    async fn renew(&self) -> Result<bool, LockError>;

    /// The day is free, or another one's (false). May be repeated.
    async fn unlock(&self) -> Result<bool, LockError>;
}

/// Two seconds, then it is an error: a network that is cut tells nobody.
pub(crate) async fn within<T, E: Display>(answer: impl Future<Output = Result<T, E>>) -> Result<T, LockError> {
    let answer = timeout(Duration::from_secs(2), answer).await;
    answer.map_err(LockError::backend)?.map_err(LockError::backend)
}

impl Who {
    /// Somebody who has just let go.
    fn unknown() -> Who {
        Who::parse("")
    }

    /// As one text; a run's number has no blanks.
    fn text(&self) -> String {
        format!("{} {}", self.run, self.replica)
    }

    fn parse(text: &str) -> Who {
        match text.split_once(' ') {
            Some((run, replica)) => Who {
                replica: replica.to_owned(),
                run: run.to_owned(),
            },
            // The name alone, as it was once.
            None => Who {
                replica: text.to_owned(),
                run: String::new(),
            },
        }
    }
}
