//! Clocks and dice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::subject::Env;

/// Dice that never volunteer: `-ln(u)` is next to nothing.
pub const NEVER: f64 = 0.999_999_999_999;

/// Dice that always volunteer: `-ln(u)` is about 700.
pub const ALWAYS: f64 = 1e-304;

/// Real time, and dice that show what they are told to. A library may keep a clock of its own, so this is the clock of
/// every check but one.
#[derive(Debug)]
pub struct Real {
    start: Instant,
    unit: AtomicU64,
}

impl Real {
    pub fn with(unit: f64) -> Arc<Real> {
        Arc::new(Real {
            start: Instant::now(),
            unit: AtomicU64::new(unit.to_bits()),
        })
    }

    pub fn show(&self, unit: f64) {
        self.unit.store(unit.to_bits(), Ordering::Relaxed);
    }
}

impl Env for Real {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn unit(&self) -> f64 {
        f64::from_bits(self.unit.load(Ordering::Relaxed))
    }
}

/// Time that passes when it is told to, and seeded dice.
#[derive(Debug)]
pub struct Virtual {
    nanos: AtomicU64,
    dice: Mutex<fastrand::Rng>,
}

impl Virtual {
    pub fn seeded(dice: fastrand::Rng) -> Arc<Virtual> {
        Arc::new(Virtual {
            nanos: AtomicU64::new(0),
            dice: Mutex::new(dice),
        })
    }

    pub fn advance(&self, by: Duration) {
        self.nanos.fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Env for Virtual {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    fn unit(&self) -> f64 {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }
}
