use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;

use crate::event::{Event, Reject, write_text};
use crate::rules::{Action, RuleError, RuleSpec, Rules};

/// What the verdict adds to an event, about: room for it is asked for with the rest.
const FOUND_LEN: usize = 192;
/// Events of a batch between two turns for others; fewer if the batch is small.
const EVENTS_PER_TURN: usize = 32;

/// What the rules say of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    Flag,
    Block,
}

/// Validates events and holds the rules against them.
#[derive(Debug)]
pub struct Pipeline {
    /// A watch without anybody to watch it: readers get what is in force, and wait for no compiler.
    rules: watch::Sender<Arc<Rules>>,
}

impl Pipeline {
    pub fn new(rules: Vec<RuleSpec>) -> Result<Self, RuleError> {
        Ok(Pipeline {
            rules: watch::Sender::new(Arc::new(Rules::new(rules)?)),
        })
    }

    /// Puts other rules in the place of those in force. With an error, those in force stay.
    pub fn reload(&self, rules: Vec<RuleSpec>) -> Result<(), RuleError> {
        let rules = Arc::new(Rules::new(rules)?);
        drop(self.rules.send_replace(rules));
        Ok(())
    }

    /// Appends the event, with its verdict in it, to `out`; nothing when it is rejected.
    pub fn process(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<Verdict, Reject> {
        let rules = self.rules.borrow().clone();
        let event = Event::read(raw)?;
        let hold = rules.hold(&event);
        // From here on, it is accepted.
        out.reserve(raw.len() + FOUND_LEN);
        out.push(b'{');
        event.write("gatekeeper", out);
        out.extend_from_slice(b"\"gatekeeper\":{\"kind\":\"");
        out.extend_from_slice(event.kind().as_bytes());
        out.extend_from_slice(b"\",\"rules\":[");
        let mut verdict = Verdict::Pass;
        for (index, rule) in hold.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_text(&rule.name, out);
            verdict = verdict.max(match rule.action {
                Action::Flag => Verdict::Flag,
                Action::Block => Verdict::Block,
            });
        }
        out.extend_from_slice(b"],\"verdict\":\"");
        out.extend_from_slice(match verdict {
            Verdict::Pass => b"pass".as_slice(),
            Verdict::Flag => b"flag",
            Verdict::Block => b"block",
        });
        out.extend_from_slice(b"\"}}");
        Ok(verdict)
    }

    /// One result per event, in the batch's order.
    pub async fn process_batch(&self, batch: Vec<Bytes>) -> Vec<Result<Bytes, Reject>> {
        let per_turn = (batch.len() / 4).clamp(1, EVENTS_PER_TURN);
        let mut results = Vec::with_capacity(batch.len());
        for (index, raw) in batch.into_iter().enumerate() {
            if index > 0 && index % per_turn == 0 {
                tokio::task::yield_now().await;
            }
            results.push(self.process_alone(&raw));
        }
        results
    }

    pub(crate) fn process_alone(&self, raw: &[u8]) -> Result<Bytes, Reject> {
        let mut out = Vec::new();
        self.process(raw, &mut out)?;
        Ok(out.into())
    }
}
