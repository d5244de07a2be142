use std::sync::{Arc, Mutex, PoisonError};

use pgwire::{Client, Row};

use super::Postgres;
use crate::Failure;

/// Questions of the superuser to a check's database, past the taps, that may be given up: one whose future is dropped, as
/// what runs inside of `within` and `select!` is, takes its session with it, and the next question gets another.
///
/// Costs a session per question at one time, one of which is kept for the next.
#[derive(Debug)]
pub struct Lookout {
    pg: Arc<Postgres>,
    idle: Mutex<Option<Client>>,
}

impl Lookout {
    pub fn on(pg: &Arc<Postgres>) -> Lookout {
        Lookout {
            pg: pg.clone(),
            idle: Mutex::new(None),
        }
    }

    /// # Errors
    /// Environment: the server does not answer, or does not understand.
    pub async fn ask(&self, sql: &str) -> Result<Vec<Row>, Failure> {
        let idle = self.idle().take();
        let mut client = match idle {
            Some(client) => client,
            None => self.pg.admin().await?,
        };
        let rows = client
            .query(sql)
            .await
            .map_err(|error| Failure::environment(format!("failed to ask the database: {error}")))?;
        *self.idle() = Some(client);
        Ok(rows)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Option<Client>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
