//! Who is let in: a semaphore for all that are inside, and one within for those that have their turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;

use crate::config::DbConfig;
use crate::ext::Clock;
use crate::health::{Health, Pass};
use crate::order::OrderError;
use crate::stats::Stats;

pub struct Gate {
    clock: Arc<dyn Clock>,
    health: Mutex<Health>,
    /// Changes whenever the breaker opens.
    opened: watch::Sender<u64>,
    inside: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    cfg: DbConfig,
    rejected: AtomicU64,
}

/// A turn, and with it a place inside. The turn is given back first.
pub struct Place {
    _turn: OwnedSemaphorePermit,
    _inside: OwnedSemaphorePermit,
}

/// That the breaker let a request in. Dropped without a word, it says nothing about the database.
pub struct Word {
    gate: Arc<Gate>,
    pass: Pass,
}

impl Gate {
    pub fn new(cfg: DbConfig, clock: Arc<dyn Clock>) -> Arc<Gate> {
        Arc::new(Gate {
            clock,
            health: Mutex::new(Health::new(cfg.breaker)),
            opened: watch::Sender::new(0),
            inside: Arc::new(Semaphore::new(cfg.max_db.saturating_add(cfg.queue).min(Semaphore::MAX_PERMITS))),
            turns: Arc::new(Semaphore::new(cfg.max_db)),
            cfg,
            rejected: AtomicU64::new(0),
        })
    }

    pub fn ask(self: &Arc<Gate>) -> Result<Word, OrderError> {
        let pass = self.health().admit(self.clock.now()).ok_or_else(down)?;
        Ok(Word {
            gate: self.clone(),
            pass,
        })
    }

    pub fn stats(&self) -> Stats {
        let all = self.cfg.max_db.saturating_add(self.cfg.queue).min(Semaphore::MAX_PERMITS);
        let in_db = self.cfg.max_db - self.turns.available_permits();
        let inside = all - self.inside.available_permits();
        Stats {
            in_db,
            queued: inside.saturating_sub(in_db),
            rejected: self.rejected.load(Ordering::Relaxed),
            breaker_state: self.health().state(self.clock.now()),
        }
    }

    fn overloaded(&self) -> OrderError {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        OrderError::Overloaded
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn down() -> OrderError {
    OrderError::Unavailable("the database is down".to_owned())
}

impl Word {
    /// Waits for a turn.
    pub async fn turn(&self) -> Result<Place, OrderError> {
        let gate = self.gate.clone();
        let mut opened = gate.opened.subscribe();
        let inside = gate.inside.clone().try_acquire_owned();
        let inside = inside.map_err(|_| gate.overloaded())?;
        let turn = tokio::select! {
            biased;
            _ = opened.changed() => return Err(down()),
            turn = gate.turns.clone().acquire_owned() => turn.map_err(|_| down())?,
            () = sleep(gate.cfg.queue_wait) => return Err(gate.overloaded()),
        };
        Ok(Place {
            _turn: turn,
            _inside: inside,
        })
    }

    pub fn answered(self) {
        self.gate.health().answered(self.pass);
    }

    pub fn failed(self) {
        let opens = self.gate.health().failed(self.pass, self.gate.clock.now());
        if opens {
            self.gate.opened.send_modify(|times| *times += 1);
        }
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        // Nothing, if it has been said.
        self.gate.health().silent(self.pass);
    }
}
