//! Events of key accounts that lie under the customer's own key, as all did once, and move to its shards.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::partstore::{PartStore, StoreError};

/// What is left in the old place for a moment, so that nobody who still corrects the event there does so in vain.
const MOVED: &str = "moved";

/// Over how many keys events move: as many as the smallest deployment has, so that all of them look there.
const SHARDS: u32 = 16;

/// How many events are looked up at a time.
const BATCH: usize = 50;

const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(200);

/// Whether an item is an event, and not the mark of one that has moved.
pub fn is_event(val: &str) -> bool {
    val != MOVED
}

/// The customers whose events this instance has begun to move.
#[derive(Clone, Debug, Default)]
pub struct Moving(Arc<Mutex<HashSet<String>>>);

impl Moving {
    /// Moves the customer's events in the background, unless that was begun.
    pub fn begin(&self, store: &PartStore, customer: &str, shards: u32) {
        if !self.begun(|begun| begun.insert(customer.to_owned())) {
            return;
        }
        let (moving, store, customer) = (self.clone(), store.clone(), customer.to_owned());
        tokio::spawn(async move {
            for _ in 0..ATTEMPTS {
                if all(&store, &customer, shards.clamp(1, SHARDS)).await.is_ok() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
            // The next who appends tries again.
            moving.begun(|begun| begun.remove(&customer));
        });
    }

    fn begun<T>(&self, change: impl FnOnce(&mut HashSet<String>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn all(store: &PartStore, customer: &str, shards: u32) -> Result<(), StoreError> {
    loop {
        let rows = store.query(customer, None, BATCH).await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            one(store, customer, &row.sk, shards).await?;
        }
    }
}

async fn one(store: &PartStore, customer: &str, sk: &str, shards: u32) -> Result<(), StoreError> {
    let id = uuid::Uuid::parse_str(sk)
        .map(|id| id.as_u128())
        .unwrap_or_default();
    let to = format!("{customer}#{}", id % u128::from(shards));
    loop {
        // In this order: a copy that was corrected since has a mark in the old place, or nothing.
        let copy = store.get(&to, sk).await?;
        let Some(val) = store.get(customer, sk).await?.filter(|val| is_event(val)) else {
            return store.delete(customer, sk).await;
        };
        let copied = copy.as_deref() == Some(&val) || store.cas(&to, sk, copy.as_deref(), &val).await?;
        if copied && store.cas(customer, sk, Some(&val), MOVED).await? {
            return store.delete(customer, sk).await;
        }
    }
}
