use std::future::{pending, ready};

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
        rx: mpsc::Receiver<Bytes>,
        mut rules: watch::Receiver<Vec<RuleSpec>>,
        tx: mpsc::Sender<Bytes>,
    ) -> RunStats {
        let mut reloads = 0;
        let mut stats = tokio::select! {
            biased;
            // Never first.
            () = self.follow(&mut rules, &mut reloads) => RunStats::default(),
            stats = self.pump(rx, tx) => stats,
        };
        // A set that came with the end.
        tokio::select! {
            biased;
            () = self.follow(&mut rules, &mut reloads) => {}
            () = ready(()) => {}
        }
        stats.reloads = reloads;
        stats
    }

    /// Puts in force what comes, and does not end.
    async fn follow(&self, rules: &mut watch::Receiver<Vec<RuleSpec>>, reloads: &mut u64) {
        while rules.changed().await.is_ok() {
            let rules = rules.borrow_and_update().clone();
            // A set that is refused leaves the last good one in force.
            *reloads += u64::from(self.reload(rules).is_ok());
        }
        pending().await
    }

    async fn pump(&self, mut rx: mpsc::Receiver<Bytes>, tx: mpsc::Sender<Bytes>) -> RunStats {
        let mut stats = RunStats::default();
        loop {
            stats.turns += 1;
            let raw = tokio::select! {
                biased;
                () = tx.closed() => break,
                raw = rx.recv() => raw,
            };
            let Some(raw) = raw else { break };
            let Ok(event) = self.process_alone(&raw) else {
                stats.rejected += 1;
                continue;
            };
            if tx.send(event).await.is_err() {
                break;
            }
            stats.processed += 1;
        }
        stats
    }
}
