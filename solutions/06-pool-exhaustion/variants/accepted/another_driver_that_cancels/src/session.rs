//! A connection for one request.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{CancelToken, Client, Config, NoTls};

use crate::config::DbConfig;
use crate::order::OrderError;

/// The replica's connections. Who may have one is decided elsewhere, so that there are never more than that.
#[derive(Clone)]
pub struct Db {
    config: Config,
    idle: Arc<Mutex<Vec<Connection>>>,
    deadline: Duration,
    via_bouncer: bool,
}

/// Closed at once when it is dropped, whatever is under way on it.
struct Connection {
    client: Client,
    driver: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Db {
    /// # Panics
    /// When the address in `cfg` is none.
    pub fn new(cfg: &DbConfig) -> Db {
        let config = match cfg.url.parse() {
            Ok(config) => config,
            Err(err) => panic!("the database's address cannot be read: {err}"),
        };
        Db {
            config,
            idle: Arc::default(),
            deadline: cfg.query_deadline,
            via_bouncer: cfg.via_bouncer,
        }
    }

    pub async fn session(&self) -> Result<Session, OrderError> {
        let connection = match self.idle() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Session {
            connection: Some(connection),
            idle: self.idle.clone(),
            limit: self.via_bouncer.then_some(self.deadline),
        })
    }

    fn idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| !connection.client.is_closed());
        idle.pop()
    }

    async fn connect(&self) -> Result<Connection, OrderError> {
        let connecting = tokio::time::timeout(self.deadline, self.config.connect(NoTls)).await;
        let (client, connection) =
            connecting.map_err(|_| OrderError::Unavailable("no connection".to_owned()))??;
        Ok(Connection {
            client,
            driver: tokio::spawn(connection),
        })
    }
}

/// Dropped before its end it closes its connection.
pub struct Session {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    limit: Option<Duration>,
}

impl Session {
    pub fn canceller(&self) -> CancelToken {
        self.cancel_token()
    }

    /// Where statements have to be transactions with a limit of their own: a cancellation whose sender does not wait for
    /// it is lost in PgBouncer 1.18 and may end it, and this driver does not wait.
    pub fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// Gives the connection back, unless it is of no use any more.
    pub fn end(mut self) {
        let connection = self.connection.take();
        if let Some(connection) = connection.filter(|connection| !connection.client.is_closed()) {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(connection);
        }
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        match &self.connection {
            Some(connection) => &connection.client,
            None => unreachable!("a session that is over is gone"),
        }
    }
}
