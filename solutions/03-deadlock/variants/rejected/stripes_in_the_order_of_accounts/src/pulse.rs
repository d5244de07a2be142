//! Whether the database answers.

use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::model::Health;
use crate::pool::Pool;

/// Between two beats.
const PAUSE: Duration = Duration::from_millis(500);
/// Longer than this no answer means that there is none.
const SILENCE: Duration = Duration::from_secs(3);
/// How long to wait for the first answer.
const PATIENCE: Duration = Duration::from_millis(800);

#[derive(Default)]
pub struct Pulse {
    last: Mutex<Option<(Instant, Health)>>,
    first: Notify,
}

impl Pulse {
    /// Every answer is one. That there is none may be the matter of one connection.
    pub fn note<T>(&self, answer: &Result<T, sqlx::Error>) {
        match answer {
            Ok(_) => self.tell(Health::Ok),
            Err(sqlx::Error::Database(err)) if !is_shutting_down(&**err) => self.tell(Health::Ok),
            Err(_) => {}
        }
    }

    fn tell(&self, health: Health) {
        *self.last() = Some((Instant::now(), health));
        self.first.notify_waiters();
    }

    pub async fn health(&self) -> Health {
        let first = self.first.notified();
        if self.last().is_none() {
            timeout(PATIENCE, first).await.ok();
        }
        match *self.last() {
            Some((at, health)) if at.elapsed() < SILENCE => health,
            _ => Health::Degraded,
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, Health)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_shutting_down(err: &dyn sqlx::error::DatabaseError) -> bool {
    err.code().is_some_and(|code| code.starts_with("57P"))
}

/// Asks now and then, by a connection of its own.
pub async fn watch(options: PgConnectOptions, pulse: Arc<Pulse>) {
    let mut connection: Option<PgConnection> = None;
    loop {
        let beat = timeout(SILENCE, async {
            if let Some(mut open) = connection.take()
                && open.ping().await.is_ok()
            {
                return Ok(open);
            }
            options.connect().await
        });
        match beat.await {
            Ok(Ok(open)) => {
                pulse.tell(Health::Ok);
                connection = Some(open);
            }
            _ => pulse.tell(Health::Degraded),
        }
        sleep(PAUSE).await;
    }
}

/// Asks now and then, when a connection is free. When none is, the others' answers tell as much.
pub async fn watch_by(pool: Arc<Pool>, pulse: Arc<Pulse>) {
    loop {
        match pool.lease().await {
            Ok(mut lease) => match timeout(SILENCE, lease.ask().ping()).await {
                Ok(Ok(())) => lease.rest(),
                // Is it the connection, or the database?
                Ok(Err(_)) => continue,
                Err(_) => pulse.tell(Health::Degraded),
            },
            Err(_) => pulse.tell(Health::Degraded),
        }
        sleep(PAUSE).await;
    }
}
