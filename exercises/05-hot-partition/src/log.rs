//! The log: who appends, reads and corrects.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::config::LogConfig;
use crate::event::{Cursor, Event, Page, Patch};
use crate::partstore::{PartStore, Row, StoreError};

/// What the store is given to recover between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

pub type Result<T> = std::result::Result<T, LogError>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogError {
    Store(StoreError),
    /// An item is not what this service writes.
    Corrupt(String),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Store(error) => error.fmt(f),
            LogError::Corrupt(key) => write!(f, "the item {key} is no event"),
        }
    }
}

impl std::error::Error for LogError {}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> LogError {
        LogError::Store(error)
    }
}

pub struct EventLog {
    store: PartStore,
    cfg: LogConfig,
}

impl EventLog {
    pub fn new(store: PartStore, cfg: LogConfig) -> EventLog {
        EventLog { store, cfg }
    }

    /// What this instance was started with, for the status page.
    pub fn settings(&self) -> &LogConfig {
        &self.cfg
    }

    /// Adds an event. One that is there already stays as it is: producers send again what was not answered.
    pub async fn append(&self, customer: &str, event: Event) -> Result<()> {
        let (sk, val) = (event.sort_key(), event.to_json());
        patiently(|| self.store.cas(customer, &sk, None, &val)).await?;
        Ok(())
    }

    /// The `limit` newest events before `before`, newest first.
    pub async fn recent(&self, customer: &str, limit: usize, before: Option<Cursor>) -> Result<Page> {
        let after = before.map(|cursor| cursor.id.to_string());
        let rows = patiently(|| self.store.query(customer, after.as_deref(), limit)).await?;
        let events = rows.iter().map(event).collect::<Result<Vec<_>>>()?;
        let next = match events.last() {
            Some(last) if events.len() == limit => Some(Cursor { id: last.id }),
            _ => None,
        };
        Ok(Page { events, next })
    }

    pub async fn get(&self, customer: &str, id: Uuid) -> Result<Option<Event>> {
        let sk = id.to_string();
        let val = patiently(|| self.store.get(customer, &sk)).await?;
        val.map(|val| parsed(customer, &sk, &val)).transpose()
    }

    /// Corrects an event; `false` when there is none.
    pub async fn amend(&self, customer: &str, id: Uuid, patch: Patch) -> Result<bool> {
        let sk = id.to_string();
        loop {
            let Some(old) = patiently(|| self.store.get(customer, &sk)).await? else {
                return Ok(false);
            };
            let mut event = parsed(customer, &sk, &old)?;
            event.body.clone_from(&patch.body);
            let new = event.to_json();
            // Somebody else may have corrected it meanwhile.
            if patiently(|| self.store.cas(customer, &sk, Some(&old), &new)).await? {
                return Ok(true);
            }
        }
    }

    /// How many events a customer has.
    pub async fn total(&self, customer: &str) -> Result<u64> {
        Ok(patiently(|| self.store.count(customer)).await?)
    }
}

/// Asks again while the store is throttled.
async fn patiently<T, F>(request: impl Fn() -> F) -> std::result::Result<T, StoreError>
where
    F: Future<Output = std::result::Result<T, StoreError>>,
{
    loop {
        match request().await {
            Err(StoreError::Throttled) => tokio::time::sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

fn event(row: &Row) -> Result<Event> {
    parsed(&row.pk, &row.sk, &row.val)
}

fn parsed(pk: &str, sk: &str, val: &str) -> Result<Event> {
    Event::from_json(val).map_err(|_| LogError::Corrupt(format!("{pk}/{sk}")))
}
