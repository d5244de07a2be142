//! Whether the database is well, as far as the requests of this replica tell; and who may ask it while it is not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::config::BreakerCfg;
use crate::ext::Clock;
use crate::order::OrderError;
use crate::stats::BreakerState;

pub struct Health {
    cfg: BreakerCfg,
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    failures: u32,
    down_since: Option<Instant>,
    /// One request is finding out whether the database is back.
    probing: bool,
    /// Counts the changes of state. What a request tells counts only in the state in which it was let in: an answer
    /// that was under way when the breaker opened says nothing about now.
    generation: u64,
}

/// Lets one request into the database. Dropped unused, by a caller that goes away, it says nothing, and lets the next
/// one in.
pub struct Pass {
    health: Arc<Health>,
    generation: u64,
}

impl Health {
    pub fn new(cfg: BreakerCfg, clock: Arc<dyn Clock>) -> Arc<Health> {
        Arc::new(Health {
            cfg,
            clock,
            seen: Mutex::default(),
        })
    }

    /// Whether [`Health::admit`] would refuse, so that nobody asks the carrier for nothing.
    pub fn check(&self) -> Result<(), OrderError> {
        self.open(&self.seen())
    }

    pub fn admit(self: &Arc<Health>) -> Result<Pass, OrderError> {
        let mut seen = self.seen();
        self.open(&seen)?;
        if seen.down_since.is_some() {
            seen.probing = true;
            seen.generation += 1;
        }
        Ok(Pass {
            health: self.clone(),
            generation: seen.generation,
        })
    }

    pub fn state(&self) -> BreakerState {
        let seen = self.seen();
        match seen.down_since {
            None => BreakerState::Closed,
            Some(_) if seen.probing => BreakerState::HalfOpen,
            Some(_) => BreakerState::Open,
        }
    }

    fn open(&self, seen: &Seen) -> Result<(), OrderError> {
        match seen.down_since {
            Some(since) if seen.probing || self.clock.now() < since + self.cfg.open_for => {
                Err(OrderError::Unavailable("the database does not answer".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    pub fn answered(self) {
        let mut seen = self.health.seen();
        if seen.generation == self.generation {
            *seen = Seen {
                generation: seen.generation + u64::from(seen.probing),
                ..Seen::default()
            };
        }
    }

    pub fn failed(self) {
        let mut seen = self.health.seen();
        if seen.generation != self.generation {
            return;
        }
        seen.failures += 1;
        if seen.probing || seen.failures >= self.health.cfg.failures {
            seen.down_since = Some(self.health.clock.now());
            seen.probing = false;
            seen.generation += 1;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut seen = self.health.seen();
        if seen.probing && seen.generation == self.generation {
            seen.probing = false;
        }
    }
}
