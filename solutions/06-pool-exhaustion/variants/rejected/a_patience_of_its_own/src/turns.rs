//! How many requests may be in the database, and how many may wait for that.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::DbConfig;
use crate::order::OrderError;

/// Nobody is sent away before this.
const LEAST_WAIT: Duration = Duration::from_secs(4);

/// Two counts instead of a list: what waits is bounded because whoever comes in takes one of `max_db + queue` places
/// first, and a caller that goes away gives back what it holds by being dropped.
pub struct Turns {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    max_db: usize,
    queue: usize,
    queue_wait: Duration,
}

/// A request's turn in the database. Dropped when the database has let go of the request, not when its caller has.
pub struct Turn {
    _turn: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Turns {
    pub fn new(cfg: &DbConfig) -> Turns {
        Turns {
            places: Arc::new(Semaphore::new(cfg.max_db + cfg.queue)),
            turns: Arc::new(Semaphore::new(cfg.max_db)),
            max_db: cfg.max_db,
            queue: cfg.queue,
            queue_wait: cfg.queue_wait,
        }
    }

    pub async fn next(&self) -> Result<Turn, OrderError> {
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| OrderError::Overloaded)?;
        let turn = tokio::time::timeout(self.queue_wait.max(LEAST_WAIT), self.turns.clone().acquire_owned()).await;
        match turn {
            Ok(Ok(turn)) => Ok(Turn {
                _turn: turn,
                _place: place,
            }),
            _ => Err(OrderError::Overloaded),
        }
    }

    pub fn taken(&self) -> usize {
        self.max_db - self.turns.available_permits()
    }

    pub fn waiting(&self) -> usize {
        (self.max_db + self.queue - self.places.available_permits()).saturating_sub(self.taken())
    }
}
