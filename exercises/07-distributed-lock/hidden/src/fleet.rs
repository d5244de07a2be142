//! Replicas as processes: each has its own statics, its own taps, and dies alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use harness::replica;
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;

use crate::desk::{self, Answer, Told, Who, Word};
use crate::subject::{
    Backend, Deps, Job, JobCtx, JobError, LockCfg, LockError, NaiveDate, Outcome, ReportSink, Reporter,
    SinkError,
};

/// What a replica is told to do. The answer comes at once: what becomes of it is told at the desk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Question {
    Boot(Boot),
    /// Calls `run_once`.
    Begin {
        call: u64,
        day: String,
    },
    /// Drops the future of a call.
    Abort {
        call: u64,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Boot {
    pub name: String,
    pub desk: String,
    pub backend: Way,
    pub ttl: Duration,
    pub renew_every: Duration,
    pub postgres: String,
    pub redis: String,
    pub etcd: String,
    pub zookeeper: String,
}

/// The three tasks of the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    Postgres,
    Redis,
    Etcd,
}

impl Way {
    fn backend(self) -> Backend {
        match self {
            Way::Postgres => Backend::PgOnce,
            Way::Redis => Backend::RedisLease,
            Way::Etcd => Backend::EtcdLease,
        }
    }
}

/// The archive and the jobs of one replica, as the desk has them.
#[derive(Clone, Debug)]
pub struct AtDesk {
    pub desk: String,
    pub replica: String,
}

impl AtDesk {
    fn who(&self, day: NaiveDate, fence: u64) -> Who {
        Who {
            replica: self.replica.clone(),
            day: day.to_string(),
            fence,
        }
    }
}

#[async_trait]
impl ReportSink for AtDesk {
    async fn publish(&self, day: NaiveDate, fence: u64, body: &[u8]) -> Result<(), SinkError> {
        let word = Word::Publish {
            who: self.who(day, fence),
            body: String::from_utf8_lossy(body).into_owned(),
        };
        match desk::say(&self.desk, &word).await {
            Ok(Answer::Stale { highest }) => Err(SinkError::Stale { highest }),
            Ok(_) => Ok(()),
            Err(error) => Err(SinkError::Unavailable(error.to_string())),
        }
    }
}

#[async_trait]
impl Job for AtDesk {
    async fn run(&self, day: NaiveDate, ctx: JobCtx) -> Result<Vec<u8>, JobError> {
        let who = self.who(day, ctx.fence());
        let mut gone = Gone {
            desk: self.desk.clone(),
            who: Some(who.clone()),
        };
        let begun = Word::Begun(who.clone());
        let mut end = std::pin::pin!(desk::say(&self.desk, &begun));
        let answer = tokio::select! {
            answer = &mut end => answer,
            () = ctx.lost() => {
                desk::say(&self.desk, &Word::Lost(who.clone())).await.ok();
                end.await
            }
        };
        let answer = answer.map_err(|error| JobError(error.to_string()))?;
        if answer != Answer::Panic {
            gone.who = None;
        }
        match answer {
            Answer::Fail => Err(JobError("the report's source is closed".to_owned())),
            Answer::Panic => panic!("the report has a row too many"),
            _ => Ok(format!("report of {day}").into_bytes()),
        }
    }
}

/// Tells the desk of a job that is dropped before its end.
struct Gone {
    desk: String,
    who: Option<Who>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        if let (Some(who), Ok(here)) = (self.who.take(), tokio::runtime::Handle::try_current()) {
            let desk = self.desk.clone();
            here.spawn(async move { desk::say(&desk, &Word::Dropped(who)).await.ok() });
        }
    }
}

/// One replica's service, wherever it lives.
pub fn reporter(boot: &Boot) -> (Arc<Reporter>, Arc<AtDesk>) {
    let at_desk = Arc::new(AtDesk {
        desk: boot.desk.clone(),
        replica: boot.name.clone(),
    });
    let deps = Deps {
        postgres: boot.postgres.clone(),
        redis: boot.redis.clone(),
        etcd: boot.etcd.clone(),
        zookeeper: boot.zookeeper.clone(),
        sink: at_desk.clone(),
    };
    let cfg = LockCfg {
        backend: boot.backend.backend(),
        ttl: boot.ttl,
        renew_every: boot.renew_every,
    };
    (Arc::new(Reporter::new(&boot.name, deps, cfg)), at_desk)
}

/// An outcome as it is told.
pub fn told(outcome: Result<Outcome, LockError>) -> Told {
    match outcome {
        Ok(Outcome::Ran { fence }) => Told::Ran(fence),
        Ok(Outcome::AlreadyDone) => Told::AlreadyDone,
        Ok(Outcome::HeldBy(by)) => Told::HeldBy(by),
        Ok(Outcome::LostLease) => Told::LostLease,
        Err(error) => Told::Failed(format!("{error:?}")),
    }
}

/// The replica's side: serves until the check is over.
pub fn serve() {
    let booted: OnceLock<(Arc<Reporter>, Arc<AtDesk>)> = OnceLock::new();
    let calls: Mutex<BTreeMap<u64, AbortHandle>> = Mutex::default();
    replica::serve(async |question: Question| -> u64 {
        match question {
            Question::Boot(boot) => {
                tokio::spawn(watch_timers(boot.desk.clone(), boot.name.clone()));
                booted.set(reporter(&boot)).ok();
            }
            Question::Begin { call, day } => {
                let (Some((reporter, at_desk)), Ok(day)) = (booted.get(), day.parse()) else {
                    return 0;
                };
                let handle = begin(reporter.clone(), at_desk.clone(), call, day);
                calls
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(call, handle);
            }
            Question::Abort { call } => {
                let handle = calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
                if let Some(handle) = handle {
                    handle.abort();
                }
            }
        }
        0
    });
}

fn begin(reporter: Arc<Reporter>, at_desk: Arc<AtDesk>, call: u64, day: NaiveDate) -> AbortHandle {
    let desk = at_desk.desk.clone();
    let running = tokio::spawn(async move { reporter.run_once(day, at_desk).await });
    let handle = running.abort_handle();
    tokio::spawn(async move {
        let told = match running.await {
            Ok(outcome) => told(outcome),
            Err(error) if error.is_panic() => Told::Panicked,
            Err(_) => Told::Aborted,
        };
        desk::say(&desk, &Word::Ended { call, told }).await.ok();
    });
    handle
}

/// How late timers are tells whether this process had a processor.
pub async fn watch_timers(desk: String, replica: String) {
    const EVERY: Duration = Duration::from_millis(50);
    const WORTH_A_WORD: Duration = Duration::from_millis(200);
    loop {
        let begun = tokio::time::Instant::now();
        tokio::time::sleep(EVERY).await;
        let by = begun.elapsed().saturating_sub(EVERY);
        if by >= WORTH_A_WORD {
            let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            let replica = replica.clone();
            desk::say(&desk, &Word::Late { replica, by_ms }).await.ok();
        }
    }
}
