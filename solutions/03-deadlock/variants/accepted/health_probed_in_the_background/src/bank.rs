//! The service.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::accounts::Accounts;
use crate::model::{BankConfig, BankError, Health, Statement, TxId};
use crate::{audit, desk, ledger};

/// How long the database may take to answer before the service calls itself degraded.
const PATIENCE: Duration = Duration::from_millis(500);

pub struct Bank {
    db: PgPool,
    accounts: Accounts,
    desk: mpsc::Sender<desk::Request>,
    closing: Semaphore,
    /// Whether the database answered when it was last asked.
    answers: watch::Receiver<bool>,
}

impl Bank {
    /// Starts the service on the current runtime. Connections are made when they are needed.
    ///
    /// # Panics
    /// When `url` is no PostgreSQL address.
    pub async fn start(cfg: BankConfig, url: &str) -> Bank {
        let db = PgPoolOptions::new()
            .max_connections(cfg.pool_size)
            .connect_lazy(url)
            .expect("a PostgreSQL address");
        let known = ledger::account_ids(&db).await.unwrap_or_default();
        let (desk, at_desk) = mpsc::channel(cfg.inbox);
        let (audit, at_audit) = mpsc::channel(cfg.inbox);
        tokio::spawn(desk::run(db.clone(), at_desk, audit));
        tokio::spawn(audit::run(db.clone(), at_audit));
        let (tell, answers) = watch::channel(true);
        tokio::spawn(probe(db.clone(), tell));
        Bank {
            db,
            accounts: Accounts::new(known),
            desk,
            closing: Semaphore::new(cfg.max_closing),
            answers,
        }
    }

    pub async fn transfer(&self, from: u32, to: u32, cents: i64) -> Result<TxId, BankError> {
        if from == to {
            return Err(BankError::SameAccount);
        }
        let both = self.accounts.lock_both(from, to).await;
        let db = self.db.clone();
        // In a task of its own: a caller who hangs up leaves no transaction half-way on a pooled connection.
        let moving = tokio::spawn(async move {
            let _both = both;
            let mut tx = db.begin().await?;
            // The rows in the same order as the locks, should there ever be a second instance.
            let mut legs = [(from, -cents), (to, cents)];
            legs.sort_by_key(|(account, _)| *account);
            for (account, cents) in legs {
                ledger::add(&mut tx, account, cents).await?;
            }
            let id = ledger::record(&mut tx, from, to, cents).await?;
            tx.commit().await?;
            Ok(id)
        });
        moving.await.map_err(stopped)?
    }

    pub async fn balance(&self, id: u32) -> Result<i64, BankError> {
        let (reply, answer) = oneshot::channel();
        self.ask(desk::Request::Balance { id, reply }).await?;
        answer.await.map_err(stopped)?
    }

    pub async fn statement(&self, id: u32) -> Result<Statement, BankError> {
        let (reply, answer) = oneshot::channel();
        self.ask(desk::Request::Statement { id, reply }).await?;
        answer.await.map_err(stopped)?
    }

    pub async fn close_account(&self, id: u32) -> Result<(), BankError> {
        // Given back when it is dropped, on whichever way out.
        let _permit = self.closing.acquire().await.map_err(stopped)?;
        let account = self.accounts.lock_of(id);
        let _account = account.lock().await;
        let found = ledger::find(&self.db, id).await?;
        if found.house {
            return Err(BankError::House);
        }
        found.ensure_empty()?;
        ledger::close(&self.db, id).await
    }

    pub async fn health(&self) -> Health {
        match *self.answers.borrow() {
            true => Health::Ok,
            false => Health::Degraded,
        }
    }

    async fn ask(&self, request: desk::Request) -> Result<(), BankError> {
        self.desk.send(request).await.map_err(stopped)
    }
}

/// What answers a request goes down with the service.
fn stopped(err: impl std::fmt::Display) -> BankError {
    BankError::Db(format!("the service is stopping: {err}"))
}

/// Asks the database again and again, so that nobody who asks for the service's health has to.
async fn probe(db: PgPool, tell: watch::Sender<bool>) {
    while !tell.is_closed() {
        let answered = timeout(PATIENCE, ledger::ping(&db)).await;
        tell.send_replace(matches!(answered, Ok(Ok(()))));
        tokio::time::sleep(PATIENCE).await;
    }
}
