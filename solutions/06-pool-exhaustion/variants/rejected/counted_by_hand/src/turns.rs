//! How many requests may be in the database, and how many may wait for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::DbConfig;
use crate::order::OrderError;

/// Two counts instead of a list: what waits is bounded because whoever comes in takes one of `max_db + queue` places
/// first, and a caller that goes away gives back what it holds by being dropped.
pub struct Turns {
    inside: Arc<AtomicUsize>,
    turns: Arc<Semaphore>,
    max_db: usize,
    queue: usize,
    queue_wait: Duration,
}

/// A request's turn in the database. Dropped when the database has let go of the request, not when its caller has.
pub struct Turn {
    _turn: OwnedSemaphorePermit,
    inside: Arc<AtomicUsize>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Turns {
    pub fn new(cfg: &DbConfig) -> Turns {
        Turns {
            inside: Arc::default(),
            turns: Arc::new(Semaphore::new(cfg.max_db)),
            max_db: cfg.max_db,
            queue: cfg.queue,
            queue_wait: cfg.queue_wait,
        }
    }

    pub async fn next(&self) -> Result<Turn, OrderError> {
        if self.inside.fetch_add(1, Ordering::SeqCst) >= self.max_db + self.queue {
            self.inside.fetch_sub(1, Ordering::SeqCst);
            return Err(OrderError::Overloaded);
        }
        let turn = tokio::time::timeout(self.queue_wait, self.turns.clone().acquire_owned()).await;
        match turn {
            Ok(Ok(turn)) => Ok(Turn {
                _turn: turn,
                inside: self.inside.clone(),
            }),
            _ => {
                self.inside.fetch_sub(1, Ordering::SeqCst);
                Err(OrderError::Overloaded)
            }
        }
    }

    pub fn taken(&self) -> usize {
        self.max_db - self.turns.available_permits()
    }

    pub fn waiting(&self) -> usize {
        self.inside.load(Ordering::SeqCst).saturating_sub(self.taken())
    }
}
