//! How long a replica may believe that it has a day.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// So much earlier than the server: what is under way then has time to end.
const EARLY: Duration = Duration::from_millis(25);

#[derive(Debug)]
pub(crate) struct Lease {
    ttl: Duration,
    /// None when it is over.
    end: Mutex<Option<Instant>>,
    changed: Notify,
}

impl Lease {
    /// From when the question was sent, not from when the answer came.
    pub(crate) fn since(asked: Instant, ttl: Duration) -> Lease {
        let ttl = ttl.saturating_sub(EARLY);
        Lease {
            ttl,
            end: Mutex::new(Some(asked + ttl)),
            changed: Notify::new(),
        }
    }

    /// True: it goes on. An answer that comes after the end is too late.
    pub(crate) fn extend(&self, asked: Instant) -> bool {
        let mut end = self.end();
        *end = end.filter(|end| *end > Instant::now()).map(|end| end.max(asked + self.ttl));
        end.is_some()
    }

    pub(crate) fn forfeit(&self) {
        *self.end() = None;
        self.changed.notify_waiters();
    }

    pub(crate) fn over(&self) -> bool {
        self.end().is_none_or(|end| end <= Instant::now())
    }

    pub(crate) async fn ended(&self) {
        loop {
            let changed = self.changed.notified();
            let Some(end) = *self.end() else { return };
            if end <= Instant::now() {
                return;
            }
            // Extended meanwhile or not: look again.
            let _ = timeout_at(end, changed).await;
        }
    }

    fn end(&self) -> MutexGuard<'_, Option<Instant>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
