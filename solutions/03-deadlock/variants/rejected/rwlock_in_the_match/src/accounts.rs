//! One lock per account: who holds it may move the account's money.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use tokio::sync::OwnedMutexGuard;

pub type AccountLock = Arc<tokio::sync::Mutex<()>>;

pub struct Accounts {
    /// The outer lock is held for one look-up, never across an `.await`.
    locks: RwLock<HashMap<u32, AccountLock>>,
}

impl Accounts {
    /// Knows `ids` from the start, and others as they come.
    pub fn new(ids: impl IntoIterator<Item = u32>) -> Accounts {
        let locks = ids.into_iter().map(|id| (id, AccountLock::default())).collect();
        Accounts {
            locks: RwLock::new(locks),
        }
    }

    pub fn lock_of(&self, id: u32) -> AccountLock {
        match self.locks.read().unwrap().get(&id).cloned() {
            Some(lock) => lock,
            None => self.locks.write().unwrap().entry(id).or_default().clone(),
        }
    }

    /// The only way to hold two accounts: in the order of their numbers, so that nobody who holds the higher one waits
    /// for the lower.
    pub async fn lock_both(&self, one: u32, other: u32) -> [OwnedMutexGuard<()>; 2] {
        let first = self.lock_of(one.min(other)).lock_owned().await;
        let second = self.lock_of(one.max(other)).lock_owned().await;
        [first, second]
    }
}
