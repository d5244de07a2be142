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
        let inner = self.inner();
        let config = tokio::spawn(async move {
            let mut reloads = 0;
            while rules.changed().await.is_ok() {
                let rules = rules.borrow_and_update().clone();
                reloads += u64::from(inner.reload(&rules).is_ok());
            }
            reloads
        });
        while let Some(raw) = rx.recv().await {
            stats.turns += 1;
            let mut out = Vec::with_capacity(raw.len() + 128);
            if self.process(&raw, &mut out).is_err() {
                stats.rejected += 1;
            } else if tx.send(out.into()).await.is_ok() {
                stats.processed += 1;
            } else {
                break;
            }
        }
        config.abort();
        stats.reloads = config.await.unwrap_or_default();
        stats
    }
}
