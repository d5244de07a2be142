use std::future::pending;
use std::pin::pin;

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
        rules: watch::Receiver<Vec<RuleSpec>>,
        tx: mpsc::Sender<Bytes>,
    ) -> RunStats {
        let mut stats = RunStats::default();
        let mut desk = Desk {
            pipeline: self,
            rules: Some(rules),
            reloads: 0,
        };
        loop {
            stats.turns += 1;
            let Some(Some(raw)) = desk.attend_until(&tx, rx.recv()).await else {
                break;
            };
            match self.process_alone(&raw) {
                Ok(event) => {
                    let Some(Ok(room)) = desk.attend_until(&tx, tx.reserve()).await else {
                        break;
                    };
                    room.send(event);
                    stats.processed += 1;
                }
                Err(_) => stats.rejected += 1,
            }
        }
        // A set that came with the end.
        desk.attend_until(&tx, async {}).await;
        stats.reloads = desk.reloads;
        stats
    }
}

/// Where rules come in while something else is waited for.
struct Desk<'p> {
    pipeline: &'p Pipeline,
    /// `None` once their sender has gone.
    rules: Option<watch::Receiver<Vec<RuleSpec>>>,
    reloads: u64,
}

impl Desk<'_> {
    /// What the future comes to; `None` when nobody reads `tx` any more. Rules that are there already come first.
    async fn attend_until<F: Future>(&mut self, tx: &mpsc::Sender<Bytes>, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                still_there = self.next_rules() => {
                    if !still_there {
                        self.rules = None;
                    }
                }
                () = tx.closed() => return None,
                output = &mut future => return Some(output),
            }
        }
    }

    /// Whether there is a sender. Without one, there is nothing to wait for.
    async fn next_rules(&mut self) -> bool {
        let Some(rules) = &mut self.rules else {
            return pending().await;
        };
        if rules.changed().await.is_err() {
            return false;
        }
        let rules = rules.borrow_and_update().clone();
        // A set that is refused leaves the last good one in force.
        self.reloads += u64::from(self.pipeline.reload(rules).is_ok());
        true
    }
}
