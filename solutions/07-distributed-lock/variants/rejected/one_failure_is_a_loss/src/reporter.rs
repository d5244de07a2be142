use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::NaiveDate;
use tokio::sync::oneshot;

use crate::error::LockError;
use crate::ext::ReportSink;
use crate::job::{Job, JobCtx};
use crate::lease::Lease;
use crate::ledger::{Entry, Ledger};
use crate::lock::{Attempt, EtcdLocks, Locks, PgLocks, RedisLocks, Who};
use crate::owner::Owner;

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
    replica: String,
    locks: Box<dyn Locks>,
    ledger: Arc<Ledger>,
    sink: Arc<dyn ReportSink>,
    cfg: LockCfg,
    /// Of this process.
    nonce: u64,
    runs: Mutex<Runs>,
}

#[derive(Default)]
struct Runs {
    count: u64,
    under_way: HashSet<String>,
}

impl Reporter {
    pub fn new(replica: &str, deps: Deps, cfg: LockCfg) -> Self {
        let ledger = Arc::new(Ledger::new(deps.postgres));
        let locks: Box<dyn Locks> = match cfg.backend {
            Backend::PgOnce => Box::new(PgLocks::new(ledger.clone(), &cfg)),
            Backend::RedisLease => Box::new(RedisLocks::new(deps.redis, &cfg)),
            Backend::EtcdLease => Box::new(EtcdLocks::new(&deps.etcd, &cfg)),
        };
        Reporter {
            replica: replica.to_owned(),
            locks,
            ledger,
            sink: deps.sink,
            cfg,
            nonce: RandomState::new().hash_one((std::process::id(), SystemTime::now())),
            runs: Mutex::default(),
        }
    }

    /// Makes and publishes the report of a day, unless that is done or being done.
    pub async fn run_once(&self, day: NaiveDate, job: Arc<dyn Job>) -> Result<Outcome, LockError> {
        if self.ledger.is_done(day).await? {
            return Ok(Outcome::AlreadyDone);
        }
        let run = Run::new(self);
        let (key, fence, asked) = match self.locks.lock(day, &run.who).await? {
            Attempt::Locked { key, fence, asked } => (key, fence, asked),
            Attempt::Done => return Ok(Outcome::AlreadyDone),
            Attempt::Held(who) => return self.held(who),
        };
        let lease = Arc::new(Lease::since(asked, self.cfg.ttl));
        match self.ledger.enter(day, &self.replica, fence).await {
            Ok(Entry::Entered) => {}
            Ok(Entry::Done) => {
                // It was done between the two questions.
                let _ = key.unlock().await;
                return Ok(Outcome::AlreadyDone);
            }
            Ok(Entry::Late) => return Ok(Outcome::LostLease),
            Err(error) => {
                let _ = key.unlock().await;
                return Err(error);
            }
        }
        let (made, of_job) = oneshot::channel();
        let (to_caller, answer) = oneshot::channel();
        let owner = Owner {
            day,
            fence,
            key,
            lease: lease.clone(),
            ledger: self.ledger.clone(),
            sink: self.sink.clone(),
            cfg: self.cfg.clone(),
        };
        tokio::spawn(owner.own(of_job, to_caller));
        let ctx = JobCtx {
            fence: fence.unsigned_abs(),
            lease: lease.clone(),
        };
        // The job is part of this future: it ends with it, and with the lease.
        tokio::select! {
            biased;
            () = lease.ended() => return Ok(Outcome::LostLease),
            result = job.run(day, ctx) => {
                let _ = made.send(result);
            }
        }
        answer.await.map_err(LockError::backend)?
    }

    fn held(&self, who: Who) -> Result<Outcome, LockError> {
        let here = who.run.starts_with(&format!("{:016x}-", self.nonce));
        if here && !self.runs().under_way.contains(&who.run) {
            return Err(LockError::backend("it is not known whether this replica has the day"));
        }
        Ok(Outcome::HeldBy(who.replica))
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run that is under way.
struct Run<'a> {
    reporter: &'a Reporter,
    who: Who,
}

impl Run<'_> {
    fn new(reporter: &Reporter) -> Run<'_> {
        let mut runs = reporter.runs();
        runs.count += 1;
        let run = format!("{:016x}-{}", reporter.nonce, runs.count);
        runs.under_way.insert(run.clone());
        let who = Who {
            replica: reporter.replica.clone(),
            run,
        };
        Run { reporter, who }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.reporter.runs().under_way.remove(&self.who.run);
    }
}
