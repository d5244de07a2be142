//! The log: who appends, reads and corrects.

use std::fmt;

use futures_util::future::try_join_all;
use uuid::Uuid;

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
    /// What readers of hot customers share: the first pages, read once for all who ask at the same time, and forgotten by
    /// whoever writes.
    pages: Pages,
}

impl EventLog {
    pub fn new(store: PartStore, cfg: LogConfig) -> EventLog {
        let pages = Pages::new(cfg.cache_ttl);
        EventLog { store, cfg, pages }
    }

    /// What this instance was started with, for the status page.
    pub fn settings(&self) -> &LogConfig {
        &self.cfg
    }

    /// Adds an event. One that is there already stays as it is: producers send again what was not answered.
    pub async fn append(&self, customer: &str, event: Event) -> Result<()> {
        let (sk, val) = (event.sort_key(), event.to_json());
        let key = self.key(customer, event.id);
        match self.store.cas(&key, &sk, None, &val).await {
            // It may have been done or not: it is the same event, so writing it makes sure.
            Err(StoreError::Unavailable(_)) => self.store.put(&key, &sk, &val).await?,
            written => drop(written?),
        }
        self.pages.forget(customer);
        Ok(())
    }

    /// The `limit` newest events before `before`, newest first.
    pub async fn recent(&self, customer: &str, limit: usize, before: Option<Cursor>) -> Result<Page> {
        if before.is_some() || !self.cfg.hot(customer) {
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
        let keys = self.keys(customer);
        let counts = keys.iter().map(|key| self.store.count(key));
        Ok(try_join_all(counts).await?.into_iter().sum())
    }

    /// Where an event of this customer is written. A hot customer's events go to many keys; which one is computed from
    /// the event's id, so that a second attempt and every later reader arrive at the same.
    fn key(&self, customer: &str, id: Uuid) -> String {
        if !self.cfg.hot(customer) {
            return customer.to_owned();
        }
        // The last bits of a version 7 id are random.
        let shard = id.as_u128() % u128::from(self.cfg.shards.max(1));
        format!("{customer}#{shard}")
    }

    /// Everywhere an event of this customer may be: what was written before there were shards stays where it is.
    fn keys(&self, customer: &str) -> Vec<String> {
        let mut keys = vec![customer.to_owned()];
        if self.cfg.hot(customer) {
            keys.extend((0..self.cfg.shards.max(1)).map(|shard| format!("{customer}#{shard}")));
        }
        keys
    }

    async fn load(&self, customer: &str, limit: usize, before: Option<Cursor>) -> Result<Page> {
        let after = before.map(|cursor| cursor.id.to_string());
        let keys = self.keys(customer);
        let queries = keys
            .iter()
            .map(|key| self.store.query(key, after.as_deref(), limit));
        let mut rows: Vec<Row> = try_join_all(queries).await?.into_iter().flatten().collect();
        rows.sort_unstable_by(|a, b| b.sk.cmp(&a.sk));
        rows.truncate(limit);
        let events = rows.iter().map(event).collect::<Result<Vec<_>>>()?;
        let next = match events.last() {
            Some(last) if events.len() == limit => Some(Cursor { id: last.id }),
            _ => None,
        };
        Ok(Page { events, next })
    }

    async fn find(&self, customer: &str, id: Uuid) -> Result<Option<Row>> {
        let (pk, sk) = (self.key(customer, id), id.to_string());
        if let Some(val) = self.store.get(&pk, &sk).await? {
            return Ok(Some(Row { pk, sk, val }));
        }
        // From before there were shards, or from an instance that knows fewer of them.
        let others = self.keys(customer).into_iter().filter(|key| *key != pk);
        let others: Vec<_> = others.map(|key| (key, sk.clone())).collect();
        if others.is_empty() {
            return Ok(None);
        }
        let found = self.store.get_many(&others).await?;
        match found.rows.into_iter().next() {
            None if !found.unprocessed.is_empty() => Err(StoreError::Throttled.into()),
            row => Ok(row),
        }
    }
}

fn event(row: &Row) -> Result<Event> {
    Event::from_json(&row.val).map_err(|_| LogError::Corrupt(format!("{}/{}", row.pk, row.sk)))
}
