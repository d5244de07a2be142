use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The clock and the dice.
pub trait Env: Send + Sync {
    /// Time since some fixed moment. It never goes back.
    fn now(&self) -> Duration;

    /// A random number from 0 (included) to 1 (excluded), uniformly distributed.
    fn unit(&self) -> f64;
}

/// What production uses.
#[derive(Debug)]
pub struct SystemEnv {
    start: Instant,
    seed: RandomState,
    drawn: AtomicU64,
}

impl Default for SystemEnv {
    fn default() -> Self {
        SystemEnv {
            start: Instant::now(),
            seed: RandomState::new(),
            drawn: AtomicU64::new(0),
        }
    }
}

impl Env for SystemEnv {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn unit(&self) -> f64 {
        let bits = self.seed.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed));
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}
