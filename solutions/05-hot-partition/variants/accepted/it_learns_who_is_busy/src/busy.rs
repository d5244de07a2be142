//! Customers that write more than one key takes: who they are is counted, and then stands in the table.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::partstore::{PartStore, StoreError};

/// Appends of one customer, through one instance, that are more than usual in a minute.
const MANY: u32 = 100;
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Busy {
    /// Over how many keys each busy customer is spread. Who is busy once remains so.
    known: Mutex<HashMap<String, u32>>,
    counted: Mutex<(Instant, HashMap<String, u32>)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No customer's name has this in it.
fn note(customer: &str) -> String {
    format!("{customer}!busy")
}

const SHARDS: &str = "shards";

impl Busy {
    pub fn new() -> Busy {
        Busy {
            known: Mutex::default(),
            counted: Mutex::new((Instant::now(), HashMap::new())),
        }
    }

    pub fn known(&self, customer: &str) -> Option<u32> {
        lock(&self.known).get(customer).copied()
    }

    /// Over how many keys the customer is spread, if it is.
    pub async fn shards(&self, store: &PartStore, customer: &str) -> Result<Option<u32>, StoreError> {
        if let Some(shards) = self.known(customer) {
            return Ok(Some(shards));
        }
        let noted = store.get(&note(customer), SHARDS).await?;
        let shards = noted.and_then(|shards| shards.parse().ok());
        if let Some(shards) = shards {
            lock(&self.known).insert(customer.to_owned(), shards);
        }
        Ok(shards)
    }

    /// Counts an append; whether there are many.
    pub fn counts(&self, customer: &str) -> bool {
        let (since, counts) = &mut *lock(&self.counted);
        if since.elapsed() > WINDOW {
            *since = Instant::now();
            counts.clear();
        }
        let count = counts.entry(customer.to_owned()).or_default();
        *count += 1;
        *count > MANY
    }

    /// Says in the table that the customer is busy, unless somebody has: over how many keys it is spread.
    pub async fn say(&self, store: &PartStore, customer: &str, shards: u32) -> Result<u32, StoreError> {
        store
            .cas(&note(customer), SHARDS, None, &shards.to_string())
            .await?;
        Ok(self.shards(store, customer).await?.unwrap_or(shards))
    }
}
