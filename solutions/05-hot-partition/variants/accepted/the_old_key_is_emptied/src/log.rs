//! The log: who appends, reads and corrects.

use std::collections::HashSet;
use std::fmt;

use futures_util::future::try_join_all;
use uuid::Uuid;

use crate::config::LogConfig;
use crate::event::{Cursor, Event, Page, Patch};
use crate::moving::{Moving, is_event};
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
    moving: Moving,
}

impl EventLog {
    pub fn new(store: PartStore, cfg: LogConfig) -> EventLog {
        let pages = Pages::new(cfg.cache_ttl);
        EventLog {
            store,
            cfg,
            pages,
            moving: Moving::default(),
        }
    }

    /// What this instance was started with, for the status page.
    pub fn settings(&self) -> &LogConfig {
        &self.cfg
    }

    /// Adds an event. One that is there already stays as it is: producers send again what was not answered.
    pub async fn append(&self, customer: &str, event: Event) -> Result<()> {
        let (sk, val) = (event.sort_key(), event.to_json());
        let key = self.key(customer, event.id);
        self.store.cas(&key, &sk, None, &val).await?;
        self.pages.forget(customer);
        if self.cfg.hot(customer) {
            self.moving.begin(&self.store, customer, self.cfg.shards);
        }
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
        if !self.cfg.hot(customer) {
            return Ok(self.store.count(customer).await?);
        }
        // An event on its way is in two places.
        let rows = self.rows(customer, None, usize::MAX).await?;
        let ids: HashSet<String> = rows.into_iter().map(|row| row.sk).collect();
        Ok(ids.len() as u64)
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

    /// Where events of this customer may be beside its own key.
    fn shards(&self, customer: &str) -> Vec<String> {
        let shards = match self.cfg.hot(customer) {
            true => self.cfg.shards.max(1),
            false => 0,
        };
        (0..shards).map(|shard| format!("{customer}#{shard}")).collect()
    }

    /// The newest events of each key. The customer's own is read first: what has left it by then is in its shard, and is
    /// found there.
    async fn rows(&self, customer: &str, after: Option<&str>, limit: usize) -> Result<Vec<Row>> {
        let mut rows = self.store.query(customer, after, limit).await?;
        rows.retain(|row| is_event(&row.val));
        let shards = self.shards(customer);
        let queries = shards.iter().map(|key| self.store.query(key, after, limit));
        rows.extend(try_join_all(queries).await?.into_iter().flatten());
        Ok(rows)
    }

    async fn load(&self, customer: &str, limit: usize, before: Option<Cursor>) -> Result<Page> {
        let after = before.map(|cursor| cursor.id.to_string());
        let mut rows = self.rows(customer, after.as_deref(), limit).await?;
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
        let (pk, sk) = (self.key(customer, id), id.to_string());
        // The own key first: what has left it by then is in its shard.
        if let Some(val) = self.store.get(customer, &sk).await?.filter(|val| is_event(val)) {
            let pk = customer.to_owned();
            return Ok(Some(Row { pk, sk, val }));
        }
        if pk == customer {
            return Ok(None);
        }
        if let Some(val) = self.store.get(&pk, &sk).await? {
            return Ok(Some(Row { pk, sk, val }));
        }
        // Moved, or from an instance that knows fewer shards.
        let others = self.shards(customer).into_iter().filter(|key| *key != pk);
        let others: Vec<_> = others.map(|key| (key, sk.clone())).collect();
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
