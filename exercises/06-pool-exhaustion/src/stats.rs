//! What a replica reports of itself, for the dashboard.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Requests that have their turn in the database.
    pub in_db: usize,
    /// Requests that wait for it.
    pub queued: usize,
    /// Requests answered with `Overloaded` since the start.
    pub rejected: u64,
    pub breaker_state: BreakerState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}
