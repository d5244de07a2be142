//! Who may move an account's money. Accounts share locks, so that none need be made or forgotten.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

const STRIPES: u32 = 256;

pub struct Accounts {
    stripes: Vec<Arc<Mutex<()>>>,
}

/// Held while money is moved.
pub struct Held {
    _first: OwnedMutexGuard<()>,
    _second: Option<OwnedMutexGuard<()>>,
}

impl Accounts {
    pub fn new() -> Accounts {
        Accounts {
            stripes: (0..STRIPES).map(|_| Arc::default()).collect(),
        }
    }

    pub async fn hold(&self, id: u32) -> Held {
        Held {
            _first: self.stripe(id % STRIPES).await,
            _second: None,
        }
    }

    /// Holds two accounts. Everyone takes them in the order of their numbers, and no stripe twice.
    pub async fn hold_both(&self, one: u32, other: u32) -> Held {
        let (lower, higher) = (one.min(other) % STRIPES, one.max(other) % STRIPES);
        let first = self.stripe(lower).await;
        let second = match lower == higher {
            true => None,
            false => Some(self.stripe(higher).await),
        };
        Held {
            _first: first,
            _second: second,
        }
    }

    async fn stripe(&self, n: u32) -> OwnedMutexGuard<()> {
        self.stripes[n as usize].clone().lock_owned().await
    }
}
