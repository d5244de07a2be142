use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;

use crate::error::LockError;
use crate::ext::ReportSink;
use crate::job::{Job, JobCtx};
use crate::lock::{DayLock, EtcdDays, PgDays, RedisDays, Take};

/// Which server knows who has a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    PgOnce,
    RedisLease,
    EtcdLease,
}

#[derive(Clone, Debug)]
pub struct LockCfg {
    pub backend: Backend,
    /// How long a replica of which nothing is heard keeps its day.
    pub ttl: Duration,
    /// How often a replica lets itself be heard.
    pub renew_every: Duration,
}

/// What a replica is connected to.
#[derive(Clone)]
pub struct Deps {
    /// `postgres://…`; there whatever the backend.
    pub postgres: String,
    /// `redis://…`; there with [`Backend::RedisLease`].
    pub redis: String,
    /// `http://…`; there with [`Backend::EtcdLease`].
    pub etcd: String,
    /// `host:port`; there with [`Backend::EtcdLease`], in etcd's place.
    pub zookeeper: String,
    pub sink: Arc<dyn ReportSink>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This replica made the report, and published it.
    Ran { fence: u64 },
    /// The report has been published.
    AlreadyDone,
    /// Another replica is making it: this one, where that is known.
    HeldBy(String),
    /// This replica had the day, and lost it.
    LostLease,
}

/// One replica.
pub struct Reporter {
    lock: Box<dyn DayLock>,
    sink: Arc<dyn ReportSink>,
}

impl Reporter {
    pub fn new(replica: &str, deps: Deps, cfg: LockCfg) -> Self {
        let replica = replica.to_owned();
        let lock: Box<dyn DayLock> = match cfg.backend {
            Backend::PgOnce => Box::new(PgDays::new(replica, deps.postgres, cfg)),
            Backend::RedisLease => Box::new(RedisDays::new(replica, deps.redis, cfg)),
            Backend::EtcdLease => Box::new(EtcdDays::new(replica, &deps.etcd, cfg)),
        };
        Reporter {
            lock,
            sink: deps.sink,
        }
    }

    /// Makes and publishes the report of a day, unless that is done or being done.
    pub async fn run_once(&self, day: NaiveDate, job: Arc<dyn Job>) -> Result<Outcome, LockError> {
        let fence = match self.lock.take(day).await? {
            Take::Taken { fence } => fence,
            Take::Held { by } => return Ok(Outcome::HeldBy(by)),
            Take::Done => return Ok(Outcome::AlreadyDone),
        };
        let body = job.run(day, JobCtx::new(fence)).await?;
        self.sink.publish(day, fence, &body).await?;
        self.lock.done(day).await?;
        Ok(Outcome::Ran { fence })
    }
}
