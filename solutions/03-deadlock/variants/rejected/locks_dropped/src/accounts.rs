//! One lock per account: who holds it may move the account's money.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

pub type AccountLock = Arc<tokio::sync::Mutex<()>>;

pub struct Accounts {
    /// The outer lock is held for one look-up, never across an `.await`.
    locks: Mutex<HashMap<u32, AccountLock>>,
}

impl Accounts {
    /// Knows `ids` from the start, and others as they come.
    pub fn new(ids: impl IntoIterator<Item = u32>) -> Accounts {
        let locks = ids.into_iter().map(|id| (id, AccountLock::default())).collect();
        Accounts {
            locks: Mutex::new(locks),
        }
    }

    pub fn lock_of(&self, id: u32) -> AccountLock {
        self.locks.lock().unwrap().entry(id).or_default().clone()
    }
}
