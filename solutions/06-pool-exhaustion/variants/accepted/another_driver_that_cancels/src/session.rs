//! A connection for one request.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::{CancelToken, Client, Config, NoTls};

use crate::config::DbConfig;
use crate::order::OrderError;

/// The replica's connections. Who may have one is decided elsewhere, so that there are never more than that.
#[derive(Clone)]
pub struct Db {
    config: Config,
    idle: Arc<Mutex<Vec<Client>>>,
    deadline: Duration,
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
        }
    }

    pub async fn session(&self) -> Result<Session, OrderError> {
        let client = match self.idle() {
            Some(client) => client,
            None => self.connect().await?,
        };
        Ok(Session {
            client: Some(client),
            idle: self.idle.clone(),
        })
    }

    fn idle(&self) -> Option<Client> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|client| !client.is_closed());
        idle.pop()
    }

    async fn connect(&self) -> Result<Client, OrderError> {
        let connecting = tokio::time::timeout(self.deadline, self.config.connect(NoTls)).await;
        let (client, connection) =
            connecting.map_err(|_| OrderError::Unavailable("no connection".to_owned()))??;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// Dropped before its end it closes its connection.
pub struct Session {
    client: Option<Client>,
    idle: Arc<Mutex<Vec<Client>>>,
}

impl Session {
    pub fn canceller(&self) -> CancelToken {
        self.cancel_token()
    }

    /// Gives the connection back, unless it is of no use any more.
    pub fn end(mut self) {
        if let Some(client) = self.client.take().filter(|client| !client.is_closed()) {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(client);
        }
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        match &self.client {
            Some(client) => client,
            None => unreachable!("a session that is over is gone"),
        }
    }
}
