use std::time::Instant;

/// Where the time comes from, so that a test may set it.
pub trait Clock: Send + Sync {
    /// Never earlier than what it said before.
    fn now(&self) -> Instant;
}

#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
}
