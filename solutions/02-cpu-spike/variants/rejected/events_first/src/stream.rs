use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::pipeline::Pipeline;
use crate::rules::RuleSpec;

/// What a stream came to, for the dashboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunStats {
    /// Events that were passed on.
    pub processed: u64,
    /// Events that were not.
    pub rejected: u64,
    /// Rule sets that were put in force.
    pub reloads: u64,
    /// Turns of the loop.
    pub turns: u64,
}

impl Pipeline {
    /// Takes events from `rx` until it is closed and empty, and passes them on to `tx`; puts rules in force as they come.
    pub async fn run(
        &self,
        mut rx: mpsc::Receiver<Bytes>,
        mut rules: watch::Receiver<Vec<RuleSpec>>,
        tx: mpsc::Sender<Bytes>,
    ) -> RunStats {
        let mut stats = RunStats::default();
        let mut out = Vec::new();
        // A channel whose sender is gone is ready for ever; nothing will come of it any more.
        let mut more_rules = true;
        loop {
            stats.turns += 1;
            tokio::select! {
                // Events are what this is for.
                biased;
                event = rx.recv() => {
                    let Some(raw) = event else { break };
                    out.clear();
                    if self.process(&raw, &mut out).is_err() {
                        stats.rejected += 1;
                        continue;
                    }
                    if tx.send(Bytes::copy_from_slice(&out)).await.is_err() {
                        break;
                    }
                    stats.processed += 1;
                }
                changed = rules.changed(), if more_rules => {
                    more_rules = changed.is_ok();
                    if more_rules {
                        let rules = rules.borrow_and_update().clone();
                        // A set that is refused leaves the last good one in force.
                        stats.reloads += u64::from(self.reload(rules).is_ok());
                    }
                }
            }
        }
        stats
    }
}
