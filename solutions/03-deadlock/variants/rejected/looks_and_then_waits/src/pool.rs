//! The connections, never more than there are permits. Who waits for one waits for as long as it takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::BankError;
use crate::pulse::Pulse;

pub struct Pool {
    options: PgConnectOptions,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<PgConnection>>,
    pulse: Arc<Pulse>,
}

/// A connection, for the time of a call.
pub struct Lease {
    connection: Option<PgConnection>,
    /// It is in the middle of nothing.
    at_rest: bool,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub fn new(options: PgConnectOptions, size: u32, pulse: Arc<Pulse>) -> Pool {
        Pool {
            options,
            permits: Arc::new(Semaphore::new(size as usize)),
            idle: Mutex::default(),
            pulse,
        }
    }

    pub async fn lease(self: &Arc<Self>) -> Result<Lease, BankError> {
        let permit = self.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|err| BankError::Db(err.to_string()))?;
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let connected = self.options.connect().await;
                self.pulse.note(&connected);
                connected?
            }
        };
        Ok(Lease {
            connection: Some(connection),
            at_rest: true,
            pool: self.clone(),
            _permit: permit,
        })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// For a question. Until it [rests](Lease::rest), a connection is not given back but closed.
    pub fn ask(&mut self) -> &mut PgConnection {
        self.at_rest = false;
        self.connection.as_mut().expect("it is there until it is given back")
    }

    /// The database has answered, and waits for nothing more.
    pub fn rest(&mut self) {
        self.pool.pulse.note(&Ok(()));
        self.at_rest = true;
    }

    /// Another connection for one that has broken.
    pub async fn renew(&mut self) -> Result<(), sqlx::Error> {
        self.connection = None;
        self.connection = Some(self.pool.options.connect().await?);
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.at_rest
            && let Some(connection) = self.connection.take()
        {
            self.pool.idle().push(connection);
        }
    }
}
