//! Which replica has a day.

mod etcd;
mod postgres;
mod redis;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::NaiveDate;
use tokio::time::{Instant, timeout};

use crate::error::LockError;
use crate::reporter::{Backend, Deps, LockCfg};

/// The servers' counts begin here: the fences of the version before this one were microseconds.
const FENCES: i64 = 2_500_000_000_000_000;

/// A day of this replica's.
#[derive(Clone, Debug)]
pub(crate) struct Mine {
    pub(crate) day: NaiveDate,
    pub(crate) owner: Arc<str>,
    pub(crate) count: i64,
    pub(crate) lease: i64,
}

impl Mine {
    pub(crate) fn fence(&self) -> u64 {
        (FENCES + self.count).unsigned_abs()
    }
}

pub(crate) enum Taken {
    Mine { mine: Mine, asked: Instant },
    Other(String),
    Done,
    /// It was this replica's for a moment.
    Lost,
}

#[async_trait]
pub(crate) trait Days: Send + Sync {
    async fn take(&self, day: NaiveDate, owner: &str) -> Result<Taken, LockError>;

    /// Which of these are still this replica's; none where that is not known.
    async fn beat(&self, days: &[Mine]) -> Vec<Option<bool>>;

    /// Puts it on record that the day is done. False: it is another one's. May be repeated.
    async fn done(&self, mine: &Mine) -> Result<bool, LockError>;

    /// Lets others have the day. False: another one has it. May be repeated.
    async fn free(&self, mine: &Mine) -> Result<bool, LockError>;
}

pub(crate) fn connected(deps: &Deps, cfg: &LockCfg) -> Arc<dyn Days> {
    match cfg.backend {
        Backend::PgOnce => Arc::new(postgres::InRow::new(&deps.postgres, cfg.ttl)),
        Backend::RedisLease => Arc::new(redis::InKey::new(&deps.redis, cfg.ttl)),
        Backend::EtcdLease => Arc::new(etcd::UnderLease::new(&deps.etcd, cfg.ttl)),
    }
}

async fn soon<T, E: Display>(answer: impl Future<Output = Result<T, E>>) -> Result<T, LockError> {
    let answer = timeout(Duration::from_secs(2), answer).await;
    answer.map_err(LockError::backend)?.map_err(LockError::backend)
}
