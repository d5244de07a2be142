//! The service.
//!
//! A call is an errand: a task that takes the locks it needs, in order, then a connection, and answers. It goes on when
//! its caller has gone, unless it has not begun.

use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::AbortHandle;

use crate::accounts::{Accounts, Held};
use crate::model::{BankConfig, BankError, Health, Statement, TxId};
use crate::pool::{Lease, Pool};
use crate::pulse::{self, Pulse};
use crate::ledger;

/// From this many connections on, one is kept for asking after the database's health.
const ENOUGH: u32 = 3;

pub struct Bank {
    pool: Arc<Pool>,
    pulse: Arc<Pulse>,
    watch: AbortHandle,
    accounts: Arc<Accounts>,
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
        let pulse = Arc::new(Pulse::default());
        let own = u32::from(cfg.pool_size >= ENOUGH);
        let pool = Arc::new(Pool::new(options.clone(), cfg.pool_size - own, pulse.clone()));
        let watch = if own > 0 {
            tokio::spawn(pulse::watch(options, pulse.clone()))
        } else {
            tokio::spawn(pulse::watch_by(pool.clone(), pulse.clone()))
        };
        Bank {
            pool,
            pulse,
            watch: watch.abort_handle(),
            accounts: Arc::new(Accounts::new()),
            inbox: Arc::new(Semaphore::new(cfg.inbox.min(Semaphore::MAX_PERMITS))),
            closing: Arc::new(Semaphore::new(cfg.max_closing.min(Semaphore::MAX_PERMITS))),
        }
    }

    pub async fn transfer(&self, from: u32, to: u32, cents: i64) -> Result<TxId, BankError> {
        if from == to {
            return Err(BankError::SameAccount);
        }
        let accounts = self.accounts.clone();
        let hold = async move { Ok(accounts.hold_both(from, to).await) };
        self.errand(hold, move |lease, held: Held| async move {
            let moved = ledger::transfer(lease, from, to, cents).await;
            drop(held);
            moved
        })
        .await
    }

    pub async fn balance(&self, id: u32) -> Result<i64, BankError> {
        let nothing = async { Ok(()) };
        self.errand(nothing, move |lease, ()| ledger::balance(lease, id)).await
    }

    pub async fn statement(&self, id: u32) -> Result<Statement, BankError> {
        let room = self.inbox.clone().acquire_owned().await.map_err(stopped)?;
        let room = async move { Ok(room) };
        self.errand(room, move |lease, room| async move {
            let told = ledger::statement(lease, id).await;
            drop(room);
            told
        })
        .await
    }

    pub async fn close_account(&self, id: u32) -> Result<(), BankError> {
        let (closing, accounts) = (self.closing.clone(), self.accounts.clone());
        let permit = async move {
            let permit = closing.acquire_owned().await.map_err(stopped)?;
            Ok((accounts.hold(id).await, permit))
        };
        self.errand(permit, move |lease, held| async move {
            let closed = ledger::close(lease, id).await;
            drop(held);
            closed
        })
        .await
    }

    pub async fn health(&self) -> Health {
        self.pulse.health().await
    }

    /// Runs `errand` with what `first` has got, and a connection.
    async fn errand<T, H, E, F>(
        &self,
        first: impl Future<Output = Result<H, BankError>> + Send + 'static,
        errand: E,
    ) -> Result<T, BankError>
    where
        T: Send + 'static,
        H: Send,
        E: FnOnce(Lease, H) -> F + Send + 'static,
        F: Future<Output = Result<T, BankError>> + Send,
    {
        let (mut reply, answer) = oneshot::channel();
        let pool = self.pool.clone();
        tokio::spawn(async move {
            let equip = async {
                let held = first.await?;
                Ok((pool.lease().await?, held))
            };
            let equipped = tokio::select! {
                equipped = equip => equipped,
                () = reply.closed() => return,
            };
            let answer = match equipped {
                Ok((lease, held)) => errand(lease, held).await,
                Err(err) => Err(err),
            };
            // Whoever has gone does not miss the answer.
            reply.send(answer).ok();
        });
        answer.await.map_err(stopped)?
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// What answers a request goes down with the service.
fn stopped(err: impl std::fmt::Display) -> BankError {
    BankError::Db(format!("the service is stopping: {err}"))
}
