//! Customers that write more than one key takes: who they are is counted.

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
    pub async fn shards(&self, _store: &PartStore, customer: &str) -> Result<Option<u32>, StoreError> {
        Ok(self.known(customer))
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

    /// Remembers that the customer is busy.
    pub async fn say(&self, _store: &PartStore, customer: &str, shards: u32) -> Result<u32, StoreError> {
        Ok(*lock(&self.known).entry(customer.to_owned()).or_insert(shards))
    }
}
