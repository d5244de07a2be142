//! A check's stage: a server, the table with what was written before, and instances of the service.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use harness::dynamodb::{DynamoDb, DynamoTap};
use harness::{Check, Failure, OrObserved, within};

use crate::subject::{Event, EventLog, LogConfig, PartStore, Result as LogResult};
use crate::traffic::{Producer, SMALL, stored};

/// A generous deadline for what takes milliseconds once nothing holds it back.
pub const SOON: Duration = Duration::from_secs(10);

/// Longer than any check.
pub const LONG: Duration = Duration::from_secs(600);

const TABLE: &str = "events";

/// What each customer has from before.
const HISTORY: usize = 60;

pub struct Stage {
    pub db: Arc<DynamoDb>,
    /// The customer that is on the list of key accounts.
    pub big: &'static str,
    /// What every customer's history holds, the oldest first.
    pub history: Vec<Event>,
    pub shards: u32,
    today: Mutex<Producer>,
}

impl Stage {
    pub async fn set(cx: &Check) -> Result<Stage, Failure> {
        let shards = cx.draw("shards", &[32, 64]);
        Stage::with_shards(cx, shards).await
    }

    pub async fn with_shards(cx: &Check, shards: u32) -> Result<Stage, Failure> {
        let db = cx.dynamodb().await?;
        let big = cx.draw("the key account", &["BIGCORP", "northwind", "acme-retail"]);
        let history = Producer::of_history(cx.rng("history")).events(HISTORY);
        let (here, rows) = (db.clone(), history.clone());
        let customers: Vec<&str> = SMALL.into_iter().chain([big]).collect();
        let seeded = cx.harness_handle().spawn(async move {
            let mut admin = here.admin().await?;
            let seeded = async {
                admin.create_table(TABLE).await?;
                let rows: Vec<_> = rows
                    .iter()
                    .map(|event| (event.id.to_string(), stored(event)))
                    .collect();
                for customer in customers {
                    let item = |(id, json)| vec![("pk", customer), ("sk", id), ("val", json)];
                    let rows = rows.iter().map(|(id, json)| (id.as_str(), json.as_str()));
                    admin.put_all(TABLE, &rows.map(item).collect::<Vec<_>>()).await?;
                }
                Ok::<(), std::io::Error>(())
            };
            seeded
                .await
                .map_err(|error| Failure::environment(format!("failed to fill the table: {error}")))
        });
        seeded
            .await
            .map_err(|error| Failure::environment(format!("failed to fill the table: {error}")))??;
        Ok(Stage {
            db,
            big,
            history,
            shards,
            today: Mutex::new(Producer::of_today(cx.rng("today"))),
        })
    }

    pub fn cfg(&self, cache_ttl: Duration) -> LogConfig {
        LogConfig {
            shards: self.shards,
            cache_ttl,
            hot: HashSet::from([self.big.to_owned()]),
        }
    }

    /// An instance that has just started, with a cache that may keep what it likes for longer than the check takes.
    pub fn instance(&self) -> Arc<EventLog> {
        self.instance_with(self.cfg(LONG))
    }

    pub fn instance_with(&self, cfg: LogConfig) -> Arc<EventLog> {
        Arc::new(EventLog::new(Stage::store(&self.db.url()), cfg))
    }

    /// The table, at the address of a tap.
    pub fn store(url: &str) -> PartStore {
        PartStore::connect(url, TABLE)
    }

    /// An instance behind a tap of its own.
    pub fn instance_apart(&self, cfg: LogConfig) -> Result<(Arc<EventLog>, Arc<DynamoTap>), Failure> {
        let tap = self.db.another_tap()?;
        let log = EventLog::new(Stage::store(&tap.url()), cfg);
        Ok((Arc::new(log), tap))
    }

    /// New events, the oldest first; newer than all before.
    pub fn events(&self, n: usize) -> Vec<Event> {
        self.today().events(n)
    }

    pub fn event(&self) -> Event {
        self.today().event()
    }

    fn today(&self) -> MutexGuard<'_, Producer> {
        self.today.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The history and `newer`, newest first, as pages show them.
    pub fn all(&self, newer: &[Event]) -> Vec<Event> {
        let mut all: Vec<Event> = self.history.iter().chain(newer).cloned().collect();
        all.sort_by_key(|event| std::cmp::Reverse(event.id));
        all
    }

    /// Appends one after the other, with nothing in the way.
    pub async fn append_all(&self, log: &EventLog, customer: &str, events: &[Event]) -> Result<(), Failure> {
        for event in events {
            done(
                "an append with nothing in its way",
                log.append(customer, event.clone()),
            )
            .await?;
        }
        Ok(())
    }
}

/// A call that has to return soon, and without an error.
pub async fn done<T>(what: &str, call: impl Future<Output = LogResult<T>>) -> Result<T, Failure> {
    let result = within(SOON, what, call).await?;
    result.or_observed(format!("{what} failed"))
}
