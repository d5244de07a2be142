//! Accounts are spread over a few shards, and each shard has one writer at a time: whoever holds its token.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

const SHARDS: u32 = 16;

pub type AccountLock = Arc<Mutex<()>>;

pub struct Accounts {
    shards: Vec<AccountLock>,
}

impl Accounts {
    pub fn new() -> Accounts {
        Accounts {
            shards: (0..SHARDS).map(|_| AccountLock::default()).collect(),
        }
    }

    pub fn lock_of(&self, id: u32) -> AccountLock {
        self.shards[(id % SHARDS) as usize].clone()
    }

    /// One token where both accounts are in one shard, two in the order of the shards otherwise.
    pub async fn lock_both(&self, one: u32, other: u32) -> (OwnedMutexGuard<()>, Option<OwnedMutexGuard<()>>) {
        let (one, other) = (one % SHARDS, other % SHARDS);
        let first = self.lock_of(one.min(other)).lock_owned().await;
        let second = match one == other {
            true => None,
            false => Some(self.lock_of(one.max(other)).lock_owned().await),
        };
        (first, second)
    }
}
