//! Connections to the database: a number of seats, and whoever has a seat may have a session.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::error::AppError;

const RECONNECT: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub struct Sessions {
    options: PgConnectOptions,
    seats: Arc<Semaphore>,
    total: u32,
    idle: Arc<Mutex<Vec<Session>>>,
    /// For a seat, and again for the session.
    patience: Duration,
}

#[derive(Debug)]
pub struct Session {
    pub conn: PgConnection,
    /// What the server calls it.
    pub pid: i32,
}

impl Sessions {
    pub fn new(options: PgConnectOptions, total: u32, patience: Duration) -> Sessions {
        Sessions {
            options,
            seats: Arc::new(Semaphore::new(total as usize)),
            total,
            idle: Arc::default(),
            patience,
        }
    }

    pub async fn seat(&self) -> Result<OwnedSemaphorePermit, AppError> {
        let seat = timeout(self.patience, self.seats.clone().acquire_owned()).await;
        seat.ok().and_then(Result::ok).ok_or(AppError::Busy)
    }

    /// A session for whoever has a seat: one that works, or a new one.
    pub async fn open(&self) -> Result<Session, AppError> {
        timeout(self.patience, self.find()).await.unwrap_or(Err(AppError::Busy))
    }

    async fn find(&self) -> Result<Session, AppError> {
        while let Some(mut session) = self.pop() {
            if session.conn.ping().await.is_ok() {
                return Ok(session);
            }
        }
        let mut conn = loop {
            match PgConnection::connect_with(&self.options).await {
                Err(sqlx::Error::Io(_)) => sleep(RECONNECT).await,
                opened => break opened?,
            }
        };
        let pid = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(&mut conn)
            .await?;
        Ok(Session { conn, pid })
    }

    /// Before the seat is given up, that is; and only a session that has nothing to do.
    pub fn give_back(&self, session: Session) {
        self.stack().push(session);
    }

    pub fn idle(&self) -> usize {
        self.stack().len()
    }

    pub fn size(&self) -> usize {
        self.total as usize - self.seats.available_permits() + self.idle()
    }

    pub async fn close(&self) {
        let _all = self.seats.acquire_many(self.total).await;
        self.seats.close();
        while let Some(session) = self.pop() {
            let _ = session.conn.close().await;
        }
    }

    fn pop(&self) -> Option<Session> {
        self.stack().pop()
    }

    fn stack(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
