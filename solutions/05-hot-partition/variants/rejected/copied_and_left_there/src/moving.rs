//! Events of key accounts that lie under the customer's own key, as all did once, and are copied to its shards.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::partstore::{PartStore, StoreError};

/// Over how many keys events are copied: as many as the smallest deployment has, so that all of them look there.
const SHARDS: u32 = 16;

/// How many events are looked up at a time.
const BATCH: usize = 50;

const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(200);

/// The customers whose events this instance has begun to copy.
#[derive(Clone, Debug, Default)]
pub struct Moving(Arc<Mutex<HashSet<String>>>);

impl Moving {
    /// Copies the customer's events in the background, unless that was begun.
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
    let mut after: Option<String> = None;
    loop {
        let rows = store.query(customer, after.as_deref(), BATCH).await?;
        for row in &rows {
            let id = uuid::Uuid::parse_str(&row.sk)
                .map(|id| id.as_u128())
                .unwrap_or_default();
            let to = format!("{customer}#{}", id % u128::from(shards));
            store.cas(&to, &row.sk, None, &row.val).await?;
        }
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = Some(last.sk.clone());
    }
}
