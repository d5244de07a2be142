//! Whether the database is well, as far as the requests of this replica tell.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::config::BreakerCfg;
use crate::ext::Clock;
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
}

impl Health {
    pub fn new(cfg: BreakerCfg, clock: Arc<dyn Clock>) -> Health {
        Health {
            cfg,
            clock,
            seen: Mutex::default(),
        }
    }

    pub fn succeeded(&self) {
        *self.seen() = Seen::default();
    }

    pub fn failed(&self) {
        let mut seen = self.seen();
        seen.failures += 1;
        if seen.failures >= self.cfg.failures {
            seen.down_since = Some(self.clock.now());
        }
    }

    pub fn state(&self) -> BreakerState {
        match self.seen().down_since {
            None => BreakerState::Closed,
            Some(since) if self.clock.now() < since + self.cfg.open_for => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
