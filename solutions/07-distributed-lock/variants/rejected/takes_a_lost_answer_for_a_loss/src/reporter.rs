use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::error::LockError;
use crate::ext::{ReportSink, SinkError};
use crate::hold::Hold;
use crate::job::{Job, JobCtx, JobError};
use crate::lock::{DayLock, EtcdDays, Grip, PgDays, RedisDays, Take};
use crate::token::{Tokens, Whose};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

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
    lock: Arc<dyn DayLock>,
    sink: Arc<dyn ReportSink>,
    cfg: LockCfg,
    tokens: Tokens,
}

impl Reporter {
    pub fn new(replica: &str, deps: Deps, cfg: LockCfg) -> Self {
        let lock: Arc<dyn DayLock> = match cfg.backend {
            Backend::PgOnce => Arc::new(PgDays::new(replica.to_owned(), deps.postgres, &cfg)),
            Backend::RedisLease => Arc::new(RedisDays::new(deps.redis, &cfg)),
            Backend::EtcdLease => Arc::new(EtcdDays::new(&deps.etcd, &cfg)),
        };
        Reporter {
            lock,
            sink: deps.sink,
            cfg,
            tokens: Tokens::new(replica),
        }
    }

    /// Makes and publishes the report of a day, unless that is done or being done.
    pub async fn run_once(&self, day: NaiveDate, job: Arc<dyn Job>) -> Result<Outcome, LockError> {
        let token = self.tokens.next();
        let grip = match self.lock.take(day, &token.text).await? {
            Take::Taken(grip) => grip,
            Take::Done => return Ok(Outcome::AlreadyDone),
            Take::Held(other) => match self.tokens.whose(&other) {
                Whose::Known(replica) => return Ok(Outcome::HeldBy(replica)),
                Whose::LeftOver => return Err(LockError::backend("an earlier run of this replica may have the day")),
            },
        };
        let hold = Arc::new(Hold::new(grip.asked, self.cfg.ttl));
        let run = Run {
            lock: self.lock.clone(),
            sink: self.sink.clone(),
            grip,
            hold,
        };
        // Ends with this future, whether that completes, panics or is dropped.
        let keeper = Keeper(tokio::spawn(run.clone().keep(self.cfg.clone())).abort_handle());
        let made = tokio::select! {
            biased;
            () = run.hold.lost() => return Ok(Outcome::LostLease),
            made = job.run(day, JobCtx::new(run.grip.fence, run.hold.clone())) => made,
        };
        if run.hold.is_lost() {
            return Ok(Outcome::LostLease);
        }
        let body = match made {
            Ok(body) => body,
            Err(error) => {
                keeper.0.abort();
                return run.failed(error).await;
            }
        };
        if !run.confirmed().await {
            return Ok(Outcome::LostLease);
        }
        // What the archive has taken is to be on record, also when the caller goes now. The lease is not renewed then, and
        // that is the end of it.
        let finishing = tokio::spawn(run.finish(body, keeper.0.clone()));
        match finishing.await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(LockError::backend(error)),
            },
        }
    }
}

struct Keeper(AbortHandle);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A day that this replica has.
#[derive(Clone)]
struct Run {
    lock: Arc<dyn DayLock>,
    sink: Arc<dyn ReportSink>,
    grip: Grip,
    hold: Arc<Hold>,
}

impl Run {
    async fn keep(self, cfg: LockCfg) {
        let mut next = Instant::now() + cfg.renew_every;
        // A connection that is stuck is given up while there is time for another one.
        let patience = (cfg.ttl / 3).min(Duration::from_secs(2));
        loop {
            sleep_until(next).await;
            if self.hold.is_lost() {
                return;
            }
            let asked = Instant::now();
            match timeout(patience, self.lock.renew(&self.grip)).await {
                Ok(Ok(true)) => {
                    self.hold.renewed(asked);
                    next = asked + cfg.renew_every;
                }
                Ok(Ok(false)) => return self.hold.lose(),
                Ok(Err(_)) | Err(_) => next = Instant::now() + PAUSE.min(cfg.renew_every),
            }
        }
    }

    /// Whether the server says that the day is this run's.
    async fn confirmed(&self) -> bool {
        let confirmation = async {
            loop {
                let asked = Instant::now();
                match self.lock.renew(&self.grip).await {
                    Ok(true) => {
                        self.hold.renewed(asked);
                        return true;
                    }
                    Ok(false) => {
                        self.hold.lose();
                        return false;
                    }
                    Err(_) => sleep(PAUSE).await,
                }
            }
        };
        tokio::select! {
            biased;
            () = self.hold.lost() => false,
            confirmed = confirmation => confirmed,
        }
    }

    async fn failed(&self, error: JobError) -> Result<Outcome, LockError> {
        match self.released().await {
            Ok(true) => Err(error.into()),
            Ok(false) => Ok(Outcome::LostLease),
            // The day may not be free.
            Err(error) => Err(error),
        }
    }

    /// Lets others have the day; tries as long as it is this run's.
    async fn released(&self) -> Result<bool, LockError> {
        loop {
            match self.lock.release(&self.grip).await {
                Err(error) if self.hold.is_lost() => return Err(error),
                Err(_) => sleep(PAUSE).await,
                released => return released,
            }
        }
    }

    async fn finish(self, body: Vec<u8>, keeper: AbortHandle) -> Result<Outcome, LockError> {
        let published = tokio::select! {
            biased;
            () = self.hold.lost() => return Ok(Outcome::LostLease),
            published = self.sink.publish(self.grip.day, self.grip.fence, &body) => published,
        };
        keeper.abort();
        match published {
            Ok(()) => {}
            Err(SinkError::Stale { .. }) if !self.released().await.unwrap_or(false) => {
                return Ok(Outcome::LostLease);
            }
            Err(error @ SinkError::Stale { .. }) => return Err(error.into()),
            Err(error) => {
                let _ = self.released().await;
                return Err(error.into());
            }
        }
        let record = async {
            loop {
                match self.lock.done(&self.grip).await {
                    Ok(true) => return Outcome::Ran { fence: self.grip.fence },
                    Ok(false) => return Outcome::LostLease,
                    Err(_) => sleep(PAUSE).await,
                }
            }
        };
        tokio::select! {
            biased;
            () = self.hold.lost() => Ok(Outcome::LostLease),
            outcome = record => Ok(outcome),
        }
    }
}
