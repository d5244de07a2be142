//! The service: its callers queue at the counter, its tellers serve them.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::counter::{Counter, Job, Last, Reply, Signs};
use crate::model::{BankConfig, BankError, Health, Statement, TxId};
use crate::teller::Teller;

/// From this many tellers on, one does nothing but ask after the database's health.
const ENOUGH: u32 = 3;
/// How long `health` may take.
const PATIENCE: Duration = Duration::from_millis(700);
/// An answer that is not older than this one is as good as one.
const RECENT: Duration = Duration::from_millis(300);
/// An answer, or a failure, that is older than this one is none.
const OLD: Duration = Duration::from_secs(3);

pub struct Bank {
    counter: Arc<Counter>,
    pings: Arc<Counter>,
    signs: Arc<Signs>,
    inbox: Arc<Semaphore>,
    closing: Arc<Semaphore>,
}

impl Bank {
    /// Starts the service on the current runtime. Connections are made when they are needed.
    ///
    /// # Panics
    /// When `url` is no PostgreSQL address.
    pub async fn start(cfg: BankConfig, url: &str) -> Bank {
        let options: PgConnectOptions = url.parse().expect("a PostgreSQL address");
        let counter = Arc::new(Counter::new());
        let pings = match cfg.pool_size >= ENOUGH {
            true => Arc::new(Counter::new()),
            false => counter.clone(),
        };
        let signs = Arc::new(Signs::default());
        for n in 0..cfg.pool_size {
            let teller = Teller {
                counter: if n == 0 { pings.clone() } else { counter.clone() },
                signs: signs.clone(),
                options: options.clone(),
                connection: None,
            };
            tokio::spawn(teller.work());
        }
        Bank {
            counter,
            pings,
            signs,
            inbox: Arc::new(Semaphore::new(cfg.inbox.min(Semaphore::MAX_PERMITS))),
            closing: Arc::new(Semaphore::new(cfg.max_closing.min(Semaphore::MAX_PERMITS))),
        }
    }

    pub async fn transfer(&self, from: u32, to: u32, cents: i64) -> Result<TxId, BankError> {
        if from == to {
            return Err(BankError::SameAccount);
        }
        self.call(|reply| Job::Transfer {
            from,
            to,
            cents,
            reply,
        })
        .await
    }

    pub async fn balance(&self, id: u32) -> Result<i64, BankError> {
        self.call(|reply| Job::Balance { id, reply }).await
    }

    pub async fn statement(&self, id: u32) -> Result<Statement, BankError> {
        let room = self.inbox.clone().acquire_owned().await.map_err(stopped)?;
        self.call(|reply| Job::Statement { id, reply, room }).await
    }

    pub async fn close_account(&self, id: u32) -> Result<(), BankError> {
        let permit = self.closing.clone().acquire_owned().await.map_err(stopped)?;
        self.call(|reply| Job::Close { id, reply, permit }).await
    }

    pub async fn health(&self) -> Health {
        let until = Instant::now() + PATIENCE;
        loop {
            let changed = self.signs.changed.notified();
            let last = self.ask();
            let is_since = |at: Option<Instant>, age| at.is_some_and(|at| at.elapsed() < age);
            if last.failure > last.answer && is_since(last.failure, OLD) {
                return Health::Degraded;
            }
            if is_since(last.answer, RECENT) {
                return Health::Ok;
            }
            if timeout_at(until, changed).await.is_err() {
                return match is_since(last.answer, OLD) {
                    true => Health::Ok,
                    false => Health::Degraded,
                };
            }
        }
    }

    /// What is known. If it is not new, there will be a ping.
    fn ask(&self) -> Last {
        let mut last = self.signs.last();
        let known = *last;
        let newest = known.answer.max(known.failure);
        if !known.asked && newest.is_none_or(|at| at.elapsed() >= RECENT) {
            last.asked = true;
            drop(last);
            self.pings.push_first(Job::Ping);
            // An earlier failure is no reason to say anything yet.
            return Last {
                failure: None,
                ..known
            };
        }
        known
    }

    async fn call<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, BankError> {
        let (reply, answer) = oneshot::channel();
        self.counter.push(job(reply));
        answer.await.map_err(stopped)?
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        self.counter.close();
        self.pings.close();
    }
}

/// What answers a request goes down with the service.
fn stopped(err: impl std::fmt::Display) -> BankError {
    BankError::Db(format!("the service is stopping: {err}"))
}
