//! A lock per key.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use tokio::sync::{Mutex, OwnedMutexGuard};

#[derive(Default)]
pub(crate) struct Turns(std::sync::Mutex<HashMap<String, Arc<Mutex<()>>>>);

impl Turns {
    pub(crate) async fn take(&self, k: &str) -> OwnedMutexGuard<()> {
        self.lock_of(k).lock_owned().await
    }

    pub(crate) fn try_take(&self, k: &str) -> Option<OwnedMutexGuard<()>> {
        self.lock_of(k).try_lock_owned().ok()
    }

    fn lock_of(&self, k: &str) -> Arc<Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.entry(k.to_owned()).or_default().clone()
    }
}
