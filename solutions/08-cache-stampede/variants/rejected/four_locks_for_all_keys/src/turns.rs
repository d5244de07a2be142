//! A fixed number of locks, which keys share.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

pub(crate) struct Turns(Vec<Arc<Mutex<()>>>);

impl Default for Turns {
    fn default() -> Self {
        Turns((0..4).map(|_| Arc::default()).collect())
    }
}

impl Turns {
    pub(crate) async fn take(&self, k: &str) -> OwnedMutexGuard<()> {
        self.stripe(k).lock_owned().await
    }

    pub(crate) fn try_take(&self, k: &str) -> Option<OwnedMutexGuard<()>> {
        self.stripe(k).try_lock_owned().ok()
    }

    fn stripe(&self, k: &str) -> Arc<Mutex<()>> {
        let hash = k.bytes().fold(5_usize, |sum, byte| sum.wrapping_mul(131).wrapping_add(usize::from(byte)));
        self.0[hash % self.0.len()].clone()
    }
}
