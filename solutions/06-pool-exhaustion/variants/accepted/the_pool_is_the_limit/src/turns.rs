//! How many requests may be here: in the database, or waiting for that.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::DbConfig;
use crate::order::OrderError;

pub struct Turns {
    places: Arc<Semaphore>,
    all: usize,
}

impl Turns {
    pub fn new(cfg: &DbConfig) -> Turns {
        let all = cfg.max_db + cfg.queue;
        Turns {
            places: Arc::new(Semaphore::new(all)),
            all,
        }
    }

    pub fn enter(&self) -> Result<OwnedSemaphorePermit, OrderError> {
        let place = self.places.clone().try_acquire_owned();
        place.map_err(|_| OrderError::Overloaded)
    }

    pub fn taken(&self) -> usize {
        self.all - self.places.available_permits()
    }
}
