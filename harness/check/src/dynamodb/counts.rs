use std::collections::BTreeMap;

/// What has passed a tap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that clients have made, and those that are open.
    pub connections_total: u64,
    pub connections_open: u64,
    /// Requests that read or write items. Those that were refused count: they were made.
    pub requests: u64,
    /// Of these, those that write, and those that only read.
    pub writes: u64,
    pub reads: u64,
    /// Requests answered because a partition had nothing left, and batches of which a part was left out.
    pub throttled: u64,
    /// Requests for items that have arrived and are not answered, and the most at one time.
    pub in_flight: u64,
    pub in_flight_peak: u64,
    /// All requests by operation, as in `PutItem`.
    pub by_operation: BTreeMap<String, u64>,
    /// Errors that clients were told, by their code, as in `ConditionalCheckFailedException`.
    pub errors: BTreeMap<String, u64>,
}

impl Counts {
    /// What has passed since `before`; peaks and what is open are those of now.
    pub fn since(&self, before: &Counts) -> Counts {
        Counts {
            connections_total: self.connections_total - before.connections_total,
            requests: self.requests - before.requests,
            writes: self.writes - before.writes,
            reads: self.reads - before.reads,
            throttled: self.throttled - before.throttled,
            by_operation: added(&self.by_operation, &before.by_operation),
            errors: added(&self.errors, &before.errors),
            ..self.clone()
        }
    }

    /// How many requests there were of an operation.
    pub fn of(&self, operation: &str) -> u64 {
        self.by_operation.get(operation).copied().unwrap_or(0)
    }
}

fn added(now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    now.iter()
        .map(|(name, n)| (name.clone(), n - before.get(name).copied().unwrap_or(0)))
        .filter(|(_, n)| *n > 0)
        .collect()
}
