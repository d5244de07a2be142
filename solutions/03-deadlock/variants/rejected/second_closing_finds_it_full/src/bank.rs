//! The service.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::model::{BankConfig, BankError, Health, Statement, TxId};
use crate::ledger;

/// How long the database may take to answer before the service calls itself degraded.
const PATIENCE: Duration = Duration::from_millis(500);

pub struct Bank {
    db: PgPool,
    /// Statements that are put together at one time.
    reading: Semaphore,
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
        Bank {
            db,
            reading: Semaphore::new(cfg.inbox),
            closing: Semaphore::new(cfg.max_closing),
        }
    }

    pub async fn transfer(&self, from: u32, to: u32, cents: i64) -> Result<TxId, BankError> {
        if from == to {
            return Err(BankError::SameAccount);
        }
        ledger::transfer(&self.db, from, to, cents).await
    }

    pub async fn balance(&self, id: u32) -> Result<i64, BankError> {
        Ok(ledger::find(&self.db, id).await?.balance_cents)
    }

    pub async fn statement(&self, id: u32) -> Result<Statement, BankError> {
        let _place = self.reading.acquire().await.map_err(stopped)?;
        ledger::statement(&self.db, id).await
    }

    pub async fn close_account(&self, id: u32) -> Result<(), BankError> {
        // Given back when it is dropped, on whichever way out.
        let _permit = self.closing.acquire().await.map_err(stopped)?;
        ledger::close(&self.db, id).await
    }

    pub async fn health(&self) -> Health {
        // The pool's own patience is half a minute; whoever asks has less.
        match timeout(PATIENCE, ledger::ping(&self.db)).await {
            Ok(Ok(())) => Health::Ok,
            Ok(Err(_)) | Err(_) => Health::Degraded,
        }
    }
}

/// What answers a request goes down with the service.
fn stopped(err: impl std::fmt::Display) -> BankError {
    BankError::Db(format!("the service is stopping: {err}"))
}
