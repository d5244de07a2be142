//! The log: who appends, reads and corrects.

use std::collections::HashSet;
use std::fmt;

use futures_util::future::try_join_all;
use uuid::Uuid;

use crate::busy::Busy;
use crate::config::LogConfig;
use crate::event::{Cursor, Event, Page, Patch};
use crate::pages::Pages;
use crate::partstore::{PartStore, Row, StoreError};

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
    /// What readers share: the first pages, read once for all who ask at the same time, and forgotten by whoever writes.
    pages: Pages,
    busy: Busy,
}

/// What is left for a moment of an event that was written to the customer's own key when it had just become busy.
const MOVED: &str = "moved";

impl EventLog {
    pub fn new(store: PartStore, cfg: LogConfig) -> EventLog {
        let pages = Pages::new(cfg.cache_ttl);
        EventLog {
            store,
            cfg,
            pages,
            busy: Busy::new(),
        }
    }

    /// What this instance was started with, for the status page.
    pub fn settings(&self) -> &LogConfig {
        &self.cfg
    }

    /// Adds an event. One that is there already stays as it is: producers send again what was not answered.
    pub async fn append(&self, customer: &str, event: Event) -> Result<()> {
        self.write(customer, &event).await?;
        self.pages.forget(customer);
        Ok(())
    }

    /// The `limit` newest events before `before`, newest first.
    pub async fn recent(&self, customer: &str, limit: usize, before: Option<Cursor>) -> Result<Page> {
        if before.is_some() {
            return self.load(customer, limit, before).await;
        }
        let load = || self.load(customer, limit, None);
        self.pages.get(customer, limit, load).await
    }

    pub async fn get(&self, customer: &str, id: Uuid) -> Result<Option<Event>> {
        self.find(customer, id).await?.map(|row| event(&row)).transpose()
    }

    /// Corrects an event; `false` when there is none.
    pub async fn amend(&self, customer: &str, id: Uuid, patch: Patch) -> Result<bool> {
        loop {
            let Some(row) = self.find(customer, id).await? else {
                return Ok(false);
            };
            let mut event = event(&row)?;
            event.body.clone_from(&patch.body);
            let new = event.to_json();
            // Somebody else may have corrected it meanwhile.
            if self.store.cas(&row.pk, &row.sk, Some(&row.val), &new).await? {
                self.pages.forget(customer);
                return Ok(true);
            }
        }
    }

    /// How many events a customer has.
    pub async fn total(&self, customer: &str) -> Result<u64> {
        let Some(shards) = self.busy.shards(&self.store, customer).await? else {
            return Ok(self.store.count(customer).await?);
        };
        // An event on its way is in two places.
        let rows = self.rows(customer, Some(shards), None, usize::MAX).await?;
        let ids: HashSet<String> = rows.into_iter().map(|row| row.sk).collect();
        Ok(ids.len() as u64)
    }

    async fn write(&self, customer: &str, event: &Event) -> Result<()> {
        let (sk, val) = (event.sort_key(), event.to_json());
        if let Some(shards) = self.busy.known(customer) {
            return self.write_spread(customer, event.id, &val, shards).await;
        }
        let many = self.busy.counts(customer);
        let written = match many {
            true => Err(StoreError::Throttled),
            false => self.store.cas(customer, &sk, None, &val).await,
        };
        if matches!(written, Err(StoreError::Throttled)) {
            let shards = self
                .busy
                .say(&self.store, customer, self.cfg.shards.max(1))
                .await?;
            return self.write_spread(customer, event.id, &val, shards).await;
        }
        let new = written?;
        // Somebody may have said so before this was written, and have written the same event elsewhere.
        if let Some(shards) = self.busy.shards(&self.store, customer).await?.filter(|_| new) {
            let to = shard(customer, event.id, shards);
            self.store.cas(&to, &sk, None, &val).await?;
            if self.store.cas(customer, &sk, Some(&val), MOVED).await? {
                self.store.delete(customer, &sk).await?;
            }
        }
        Ok(())
    }

    /// What was written to the customer's own key before it was busy counts once, there.
    async fn write_spread(&self, customer: &str, id: Uuid, val: &str, shards: u32) -> Result<()> {
        let sk = id.to_string();
        let there = self.store.get(customer, &sk).await?;
        if there.is_none_or(|there| there == MOVED) {
            self.store
                .cas(&shard(customer, id, shards), &sk, None, val)
                .await?;
        }
        Ok(())
    }

    /// The newest events of each key. The customer's own is read first: what has left it by then is in its shard.
    async fn rows(
        &self,
        customer: &str,
        shards: Option<u32>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Row>> {
        let mut rows = self.store.query(customer, after, limit).await?;
        rows.retain(|row| row.val != MOVED);
        let keys = (0..shards.unwrap_or(0)).map(|shard| format!("{customer}#{shard}"));
        let keys: Vec<String> = keys.collect();
        let queries = keys.iter().map(|key| self.store.query(key, after, limit));
        rows.extend(try_join_all(queries).await?.into_iter().flatten());
        Ok(rows)
    }

    async fn load(&self, customer: &str, limit: usize, before: Option<Cursor>) -> Result<Page> {
        let after = before.map(|cursor| cursor.id.to_string());
        let shards = self.busy.shards(&self.store, customer).await?;
        let mut rows = self.rows(customer, shards, after.as_deref(), limit).await?;
        // Of two places the own one counts, which is in front.
        rows.sort_by(|a, b| b.sk.cmp(&a.sk));
        rows.dedup_by(|b, a| a.sk == b.sk);
        rows.truncate(limit);
        let events = rows.iter().map(event).collect::<Result<Vec<_>>>()?;
        let next = match events.last() {
            Some(last) if events.len() == limit => Some(Cursor { id: last.id }),
            _ => None,
        };
        Ok(Page { events, next })
    }

    async fn find(&self, customer: &str, id: Uuid) -> Result<Option<Row>> {
        let sk = id.to_string();
        let own = self.store.get(customer, &sk).await?;
        if let Some(val) = own.filter(|val| val != MOVED) {
            let pk = customer.to_owned();
            return Ok(Some(Row { pk, sk, val }));
        }
        let Some(shards) = self.busy.shards(&self.store, customer).await? else {
            return Ok(None);
        };
        let pk = shard(customer, id, shards);
        let val = self.store.get(&pk, &sk).await?;
        Ok(val.map(|val| Row { pk, sk, val }))
    }
}

/// Computed from the event's id, so that a second attempt and every later reader arrive at the same.
fn shard(customer: &str, id: Uuid, shards: u32) -> String {
    format!("{customer}#{}", id.as_u128() % u128::from(shards))
}

fn event(row: &Row) -> Result<Event> {
    Event::from_json(&row.val).map_err(|_| LogError::Corrupt(format!("{}/{}", row.pk, row.sk)))
}
