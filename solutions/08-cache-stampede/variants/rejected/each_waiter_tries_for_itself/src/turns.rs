//! A lock per key, for as long as somebody uses it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};

use tokio::sync::{Mutex, OwnedMutexGuard};

#[derive(Default)]
pub(crate) struct Turns(std::sync::Mutex<HashMap<String, Weak<Mutex<()>>>>);

impl Turns {
    pub(crate) async fn take(&self, k: &str) -> OwnedMutexGuard<()> {
        self.lock_of(k).lock_owned().await
    }

    pub(crate) fn try_take(&self, k: &str) -> Option<OwnedMutexGuard<()>> {
        self.lock_of(k).try_lock_owned().ok()
    }

    fn lock_of(&self, k: &str) -> Arc<Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(k).and_then(Weak::upgrade) {
            return lock;
        }
        // The dead are taken out when they are half of all.
        if locks.len() >= 64 && locks.len() == locks.capacity() {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::new(Mutex::new(()));
        locks.insert(k.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
