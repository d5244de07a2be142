//! How this company connects to its servers. Nothing waits longer than two seconds for an answer.

use std::str::FromStr;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::error::LockError;

const PATIENCE: Duration = Duration::from_secs(2);

/// Connects when it is first used, and again when a connection breaks. Statements end after two seconds, in the server.
pub fn postgres(url: &str) -> Result<PgPool, LockError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(LockError::backend)?
        .options([("statement_timeout", "2000")]);
    let pool = PgPoolOptions::new().max_connections(4).acquire_timeout(PATIENCE);
    Ok(pool.connect_lazy_with(options))
}

/// Connects again when the connection breaks; the command that met the break fails.
pub async fn redis(url: &str) -> Result<ConnectionManager, LockError> {
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(1)
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let client = redis::Client::open(url).map_err(LockError::backend)?;
    ConnectionManager::new_with_config(client, config)
        .await
        .map_err(LockError::backend)
}
