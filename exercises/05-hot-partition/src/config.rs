//! What a deployment passes to every instance.

use std::collections::HashSet;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Over how many keys one customer's events may be spread.
    pub shards: u32,
    /// How old what is shown may be when another instance has written.
    pub cache_ttl: Duration,
    /// The customers that sales calls key accounts.
    pub hot: HashSet<String>,
}

impl LogConfig {
    pub fn hot(&self, customer: &str) -> bool {
        self.hot.contains(customer)
    }
}
