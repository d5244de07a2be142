use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::NaiveDate;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::days::{self, Days, Mine, Taken};
use crate::error::LockError;
use crate::ext::{ReportSink, SinkError};
use crate::heart::Heart;
use crate::hold::Hold;
use crate::job::{Job, JobCtx};
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
    days: Arc<dyn Days>,
    heart: Arc<Heart>,
    sink: Arc<dyn ReportSink>,
    ttl: Duration,
    tokens: Tokens,
    replica: String,
    /// The days that this replica is at: the scheduler asks for them every minute.
    busy: Mutex<HashSet<NaiveDate>>,
}

impl Reporter {
    pub fn new(replica: &str, deps: Deps, cfg: LockCfg) -> Self {
        let days = days::connected(&deps, &cfg);
        Reporter {
            heart: Heart::new(days.clone(), cfg.clone()),
            days,
            sink: deps.sink,
            ttl: cfg.ttl,
            tokens: Tokens::new(replica),
            replica: replica.to_owned(),
            busy: Mutex::default(),
        }
    }

    /// Makes and publishes the report of a day, unless that is done or being done.
    pub async fn run_once(&self, day: NaiveDate, job: Arc<dyn Job>) -> Result<Outcome, LockError> {
        if !self.busy().insert(day) {
            return Ok(Outcome::HeldBy(self.replica.clone()));
        }
        let token = self.tokens.next();
        let taken = self.days.take(day, &token.text).await;
        // From here on it ends with this future.
        let _busy = Busy { reporter: self, day };
        let (mine, asked) = match taken? {
            Taken::Mine { mine, asked } => (mine, asked),
            Taken::Done => return Ok(Outcome::AlreadyDone),
            Taken::Lost => return Ok(Outcome::LostLease),
            Taken::Other(owner) => {
                return match self.tokens.whose(&owner) {
                    Whose::Known(replica) => Ok(Outcome::HeldBy(replica)),
                    Whose::LeftOver => Err(LockError::backend("this replica may have the day, and does not know")),
                };
            }
        };
        let hold = Arc::new(Hold::new(asked, self.ttl));
        // Until this future ends in whatever way.
        let beats = self.heart.beat_for(mine.clone(), hold.clone());
        let end = End {
            days: self.days.clone(),
            heart: self.heart.clone(),
            beats: beats.number,
            sink: self.sink.clone(),
            mine,
            hold,
        };
        let made = end.unless_lost(job.run(day, JobCtx::new(end.mine.fence(), end.hold.clone())));
        let Some(made) = made.await else {
            return Ok(Outcome::LostLease);
        };
        let body = match made {
            Ok(body) => body,
            Err(error) => {
                return match end.free().await? {
                    true => Err(error.into()),
                    false => Ok(Outcome::LostLease),
                };
            }
        };
        if end.unless_lost(end.confirmed()).await != Some(true) {
            return Ok(Outcome::LostLease);
        }
        // Not in this future: a report that is taken is to be on record, though the caller goes.
        let (answer, outcome) = oneshot::channel();
        tokio::spawn(async move {
            let _ = answer.send(end.publish(body).await);
        });
        outcome.await.map_err(LockError::backend)?
    }

    fn busy(&self) -> MutexGuard<'_, HashSet<NaiveDate>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Busy<'a> {
    reporter: &'a Reporter,
    day: NaiveDate,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.reporter.busy().remove(&self.day);
    }
}

/// A day of this replica's, from the job on.
struct End {
    days: Arc<dyn Days>,
    heart: Arc<Heart>,
    beats: u64,
    sink: Arc<dyn ReportSink>,
    mine: Mine,
    hold: Arc<Hold>,
}

impl End {
    async fn unless_lost<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        let done = tokio::select! {
            biased;
            () = self.hold.lost() => None,
            done = what => Some(done),
        };
        // Who was asleep may find both.
        done.filter(|_| !self.hold.is_lost())
    }

    /// Whether the server still says so.
    async fn confirmed(&self) -> bool {
        loop {
            let asked = Instant::now();
            match self.days.beat(std::slice::from_ref(&self.mine)).await[..] {
                [Some(true)] => {
                    self.hold.renewed(asked);
                    return true;
                }
                [Some(false)] => {
                    self.hold.lose();
                    return false;
                }
                _ => sleep(PAUSE).await,
            }
        }
    }

    async fn free(&self) -> Result<bool, LockError> {
        self.heart.stop(self.beats);
        loop {
            match self.days.free(&self.mine).await {
                Err(error) if self.hold.is_lost() => return Err(error),
                Err(_) => sleep(PAUSE).await,
                free => return free,
            }
        }
    }

    async fn publish(self, body: Vec<u8>) -> Result<Outcome, LockError> {
        let fence = self.mine.fence();
        let publication = self.sink.publish(self.mine.day, fence, &body);
        // Not `unless_lost`: what the archive has taken in the last moment is put on record, if nobody else has the day.
        let published = tokio::select! {
            biased;
            () = self.hold.lost() => return Ok(Outcome::LostLease),
            published = publication => published,
        };
        if let Err(error) = published {
            let free = self.free().await;
            return match error {
                SinkError::Stale { .. } if !matches!(free, Ok(true)) => Ok(Outcome::LostLease),
                error => Err(error.into()),
            };
        }
        self.heart.stop(self.beats);
        let record = async {
            loop {
                match self.days.done(&self.mine).await {
                    Ok(recorded) => return recorded,
                    Err(_) => sleep(PAUSE).await,
                }
            }
        };
        let recorded = tokio::select! {
            recorded = record => recorded,
            () = self.hold.lost() => false,
        };
        Ok(if recorded { Outcome::Ran { fence } } else { Outcome::LostLease })
    }
}
