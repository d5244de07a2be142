//! One lock per account: who holds it may move the account's money.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

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

    /// The only way to hold two accounts: in the order of their numbers, so that nobody who holds the higher one waits
    /// for the lower.
    pub async fn lock_both(&self, one: u32, other: u32) -> [OwnedMutexGuard<()>; 2] {
        let first = wait_for(self.lock_of(one.min(other)));
        let second = wait_for(self.lock_of(one.max(other)));
        [first, second]
    }
}

/// A lock is held for a few milliseconds: not worth a trip through the scheduler.
fn wait_for(lock: AccountLock) -> OwnedMutexGuard<()> {
    loop {
        match lock.clone().try_lock_owned() {
            Ok(guard) => return guard,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    }
}
