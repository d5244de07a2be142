//! Who may move money.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

pub struct Accounts {
    all: Arc<Mutex<()>>,
}

/// Held while money is moved.
pub struct Held {
    _first: OwnedMutexGuard<()>,
}

impl Accounts {
    pub fn new() -> Accounts {
        Accounts {
            all: Arc::default(),
        }
    }

    pub async fn hold(&self, _id: u32) -> Held {
        Held {
            _first: self.all.clone().lock_owned().await,
        }
    }

    /// One transfer at a time: whatever order they are taken in, there is no deadlock.
    pub async fn hold_all(&self) -> Held {
        self.hold(0).await
    }
}
