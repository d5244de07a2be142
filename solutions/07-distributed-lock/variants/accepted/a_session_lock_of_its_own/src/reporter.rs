use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::LockError;
use crate::ext::{ReportSink, SinkError};
use crate::job::{Job, JobCtx};
use crate::lock::{DayLock, EtcdDays, Lease, PgDays, RedisDays, Take};

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
    cfg: LockCfg,
}

impl Reporter {
    pub fn new(replica: &str, deps: Deps, cfg: LockCfg) -> Self {
        let (replica, own) = (replica.to_owned(), cfg.clone());
        let lock: Box<dyn DayLock> = match cfg.backend {
            Backend::PgOnce => Box::new(PgDays::new(replica, deps.postgres, cfg)),
            Backend::RedisLease => Box::new(RedisDays::new(replica, deps.redis, cfg)),
            Backend::EtcdLease => Box::new(EtcdDays::new(replica, &deps.etcd, cfg)),
        };
        Reporter {
            lock,
            sink: deps.sink,
            cfg: own,
        }
    }

    /// Makes and publishes the report of a day, unless that is done or being done.
    pub async fn run_once(&self, day: NaiveDate, job: Arc<dyn Job>) -> Result<Outcome, LockError> {
        let asked = Instant::now();
        let lease = match self.lock.take(day).await? {
            Take::Taken(lease) => lease,
            Take::Held { by } => return Ok(Outcome::HeldBy(by)),
            Take::Done => return Ok(Outcome::AlreadyDone),
        };
        let (lost, losing) = watch::channel(false);
        let work = async {
            let body = job.run(day, JobCtx::new(lease.fence, losing)).await?;
            self.sink.publish(day, lease.fence, &body).await?;
            Ok(())
        };
        // One future: the renewals end with the job, however that ends.
        let worked: Result<(), LockError> = tokio::select! {
            biased;
            () = self.keep(lease.clone(), asked) => {
                lost.send_replace(true);
                return Ok(Outcome::LostLease);
            }
            worked = work => worked,
        };
        match worked {
            Ok(()) if self.lock.done(lease.clone()).await? => Ok(Outcome::Ran { fence: lease.fence }),
            Ok(()) | Err(LockError::Sink(SinkError::Stale { .. })) => Ok(Outcome::LostLease),
            Err(error) => {
                // If this fails too, the day is free when its time is over.
                self.lock.free(lease).await.ok();
                Err(error)
            }
        }
    }

    /// Renews the lease until it is lost: somebody else has it, or nothing was heard of it for as long as it is good. The
    /// time counts from before the question, and by our own clock.
    async fn keep(&self, lease: Lease, asked: Instant) {
        let mut good_until = asked + self.cfg.ttl;
        loop {
            tokio::time::sleep_until(good_until.min(Instant::now() + self.cfg.renew_every)).await;
            let asked = Instant::now();
            match tokio::time::timeout_at(good_until, self.lock.renew(lease.clone())).await {
                Ok(Ok(true)) => good_until = asked + self.cfg.ttl,
                Ok(Err(_)) if Instant::now() < good_until => {}
                _ => return,
            }
        }
    }
}
