//! One lock per account: who holds it may move the account's money.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

pub type AccountLock = Arc<tokio::sync::Mutex<()>>;

const STRIPES: u32 = 64;

pub struct Accounts {
    /// The outer lock is held for one look-up, never across an `.await`.
    locks: Mutex<HashMap<u32, AccountLock>>,
}

impl Accounts {
    /// Knows `ids` from the start, and others as they come.
    pub fn new(ids: impl IntoIterator<Item = u32>) -> Accounts {
        let locks = ids
            .into_iter()
            .map(|id| (id % STRIPES, AccountLock::default()))
            .collect();
        Accounts {
            locks: Mutex::new(locks),
        }
    }

    /// A fixed number of locks, so that nothing grows with the accounts.
    pub fn lock_of(&self, id: u32) -> AccountLock {
        self.locks.lock().unwrap().entry(id % STRIPES).or_default().clone()
    }

    /// The only way to hold two accounts: in the order of their numbers, so that nobody who holds the higher one waits
    /// for the lower.
    pub async fn lock_both(&self, one: u32, other: u32) -> [OwnedMutexGuard<()>; 2] {
        let first = self.lock_of((one % STRIPES).min(other % STRIPES)).lock_owned().await;
        let second = self.lock_of((one % STRIPES).max(other % STRIPES)).lock_owned().await;
        [first, second]
    }
}
