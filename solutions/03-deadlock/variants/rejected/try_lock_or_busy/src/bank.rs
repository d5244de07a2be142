//! The service.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::{Semaphore, mpsc, oneshot};
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
        Bank {
            db,
            accounts: Accounts::new(known),
            desk,
            closing: Semaphore::new(cfg.max_closing),
        }
    }

    pub async fn transfer(&self, from: u32, to: u32, cents: i64) -> Result<TxId, BankError> {
        if from == to {
            return Err(BankError::SameAccount);
        }
        let source = self.accounts.lock_of(from);
        let _source = source.lock().await;
        if ledger::find(&self.db, from).await?.balance_cents < cents {
            return Err(BankError::Insufficient);
        }
        let target = self.accounts.lock_of(to);
        let Ok(_target) = target.try_lock() else {
            return Err(BankError::Db("the account is busy".to_owned()));
        };
        let mut tx = self.db.begin().await?;
        ledger::add(&mut tx, from, -cents).await?;
        ledger::add(&mut tx, to, cents).await?;
        let id = ledger::record(&mut tx, from, to, cents).await?;
        tx.commit().await?;
        Ok(id)
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
        // The pool's own patience is half a minute; whoever asks has less.
        match timeout(PATIENCE, ledger::ping(&self.db)).await {
            Ok(Ok(())) => Health::Ok,
            Ok(Err(_)) | Err(_) => Health::Degraded,
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
