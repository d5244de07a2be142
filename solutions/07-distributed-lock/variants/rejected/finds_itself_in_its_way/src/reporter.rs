use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::NaiveDate;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::belief::{Belief, Until};
use crate::error::LockError;
use crate::ext::{ReportSink, SinkError};
use crate::job::{Job, JobCtx, JobError};
use crate::server::{Seat, Server, Take};

/// What a server is given between two attempts.
const BREATH: Duration = Duration::from_millis(90);

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
    server: Arc<Server>,
    sink: Arc<dyn ReportSink>,
    cfg: LockCfg,
    process: u64,
    runs: AtomicU64,
}

impl Reporter {
    pub fn new(replica: &str, deps: Deps, cfg: LockCfg) -> Self {
        Reporter {
            replica: replica.to_owned(),
            server: Arc::new(Server::new(&deps, &cfg)),
            sink: deps.sink,
            cfg,
            process: RandomState::new().hash_one((SystemTime::now(), std::process::id())),
            runs: AtomicU64::new(0),
        }
    }

    /// Makes and publishes the report of a day, unless that is done or being done.
    pub async fn run_once(&self, day: NaiveDate, job: Arc<dyn Job>) -> Result<Outcome, LockError> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let run = format!("{}/{:x}/{number}", self.replica, self.process);
        let seat = match self.server.take(day, &run).await? {
            Take::Taken(seat) => seat,
            Take::Held(other) => return held(&other),
            Take::Done => return Ok(Outcome::AlreadyDone),
        };
        let belief = Belief::new(seat.asked, self.cfg.ttl);
        let until = belief.watched();
        let turns = Arc::new(tokio::sync::Mutex::new(Turn::Renew));
        let ctx = JobCtx::new(seat.fence, until.clone());
        let mut working = JobTask(tokio::spawn(async move { job.run(day, ctx).await }));
        let made = tokio::select! {
            biased;
            () = until.over() => return Ok(Outcome::LostLease),
            () = self.renew(&seat, &belief, &turns) => return Ok(Outcome::LostLease),
            made = &mut working.0 => made,
        };
        if until.is_over() {
            return Ok(Outcome::LostLease);
        }
        let made = made.unwrap_or_else(|crash| Err(JobError(format!("the job has crashed: {crash}"))));
        let last = Last {
            server: self.server.clone(),
            sink: self.sink.clone(),
            seat: seat.clone(),
            until: until.clone(),
            turns: turns.clone(),
        };
        let body = match made {
            Ok(body) => body,
            Err(error) => {
                return match last.left().await {
                    Ok(true) => Err(error.into()),
                    Ok(false) => Ok(Outcome::LostLease),
                    Err(error) => Err(error),
                };
            }
        };
        tokio::select! {
            biased;
            () = until.over() => return Ok(Outcome::LostLease),
            mine = self.confirm(&seat, &belief) => if !mine {
                return Ok(Outcome::LostLease);
            },
        }
        // Goes on without its caller, but not for longer than the day is surely this replica's.
        let mut last = tokio::spawn(last.publish(body));
        let outcome = tokio::select! {
            biased;
            outcome = &mut last => outcome,
            () = self.renew(&seat, &belief, &turns) => last.await,
        };
        outcome.map_err(LockError::backend)?
    }

    /// Completes when the day is lost, or nothing is to be renewed any more.
    async fn renew(&self, seat: &Seat, belief: &Belief, turns: &tokio::sync::Mutex<Turn>) {
        let patience = Duration::from_secs(2).min(self.cfg.ttl / 3);
        let mut next = Instant::now() + self.cfg.renew_every;
        loop {
            sleep_until(next).await;
            let turn = turns.lock().await;
            if matches!(*turn, Turn::Record) {
                return;
            }
            let asked = Instant::now();
            match timeout(patience, self.server.renew(seat)).await {
                Ok(Ok(true)) => {
                    belief.heard(asked);
                    next = asked + self.cfg.renew_every;
                }
                Ok(Ok(false)) => return belief.lost(),
                Ok(Err(_)) | Err(_) => next = Instant::now() + BREATH,
            }
        }
    }

    /// Asks the server once more before anything is published.
    async fn confirm(&self, seat: &Seat, belief: &Belief) -> bool {
        loop {
            let asked = Instant::now();
            match self.server.renew(seat).await {
                Ok(mine) => {
                    if mine {
                        belief.heard(asked);
                    } else {
                        belief.lost();
                    }
                    return mine;
                }
                Err(_) => sleep(BREATH).await,
            }
        }
    }
}

fn held(run: &str) -> Result<Outcome, LockError> {
    let replica = run.rsplitn(3, '/').nth(2).unwrap_or(run);
    Ok(Outcome::HeldBy(replica.to_owned()))
}

/// Whether the day is renewed, or recorded: then it is the server's, and a renewal would be told that it is lost.
enum Turn {
    Renew,
    Record,
}

/// The job, as long as somebody waits for it.
struct JobTask(JoinHandle<Result<Vec<u8>, JobError>>);

impl Drop for JobTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What comes after the job.
struct Last {
    server: Arc<Server>,
    sink: Arc<dyn ReportSink>,
    seat: Seat,
    until: Until,
    turns: Arc<tokio::sync::Mutex<Turn>>,
}

impl Last {
    async fn publish(self, body: Vec<u8>) -> Result<Outcome, LockError> {
        let published = tokio::select! {
            biased;
            () = self.until.over() => return Ok(Outcome::LostLease),
            published = self.sink.publish(self.seat.day, self.seat.fence, &body) => published,
        };
        match published {
            Ok(()) => tokio::select! {
                biased;
                () = self.until.over() => Ok(Outcome::LostLease),
                outcome = self.record() => Ok(outcome),
            },
            Err(error) => {
                let mine = self.left().await;
                match error {
                    SinkError::Stale { .. } if !matches!(mine, Ok(true)) => Ok(Outcome::LostLease),
                    error => Err(error.into()),
                }
            }
        }
    }

    async fn record(&self) -> Outcome {
        *self.turns.lock().await = Turn::Record;
        loop {
            match self.server.finish(&self.seat).await {
                Ok(true) => {
                    return Outcome::Ran {
                        fence: self.seat.fence,
                    };
                }
                Ok(false) => return Outcome::LostLease,
                Err(_) => sleep(BREATH).await,
            }
        }
    }

    /// Lets go of the day, and does not give up while it may be this replica's.
    async fn left(&self) -> Result<bool, LockError> {
        *self.turns.lock().await = Turn::Record;
        loop {
            match self.server.leave(&self.seat).await {
                Err(error) if self.until.is_over() => return Err(error),
                Err(_) => sleep(BREATH).await,
                left => return left,
            }
        }
    }
}
