use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;

use crate::event::{Event, Reject};
use crate::rules::{Action, Rule, RuleError, RuleSpec};

/// What the rules say of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    Flag,
    Block,
}

/// What was found out about an event.
#[derive(Serialize)]
struct Found<'a> {
    kind: &'a str,
    verdict: Verdict,
    rules: Vec<&'a str>,
}

/// Validates events and holds the rules against them.
#[derive(Debug)]
pub struct Pipeline {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    rules: watch::Sender<Arc<[Rule]>>,
}

impl Pipeline {
    pub fn new(rules: Vec<RuleSpec>) -> Result<Self, RuleError> {
        let rules = watch::Sender::new(compile(&rules)?);
        Ok(Pipeline {
            inner: Arc::new(Inner { rules }),
        })
    }

    /// Puts other rules in the place of those in force. With an error, those in force stay.
    pub fn reload(&self, rules: Vec<RuleSpec>) -> Result<(), RuleError> {
        self.inner.rules.send_replace(compile(&rules)?);
        Ok(())
    }

    /// Appends the event, with its verdict in it, to `out`; nothing when it is rejected.
    pub fn process(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<Verdict, Reject> {
        self.inner.process(raw, out)
    }

    /// One result per event, in the batch's order.
    pub async fn process_batch(&self, batch: Vec<Bytes>) -> Vec<Result<Bytes, Reject>> {
        let mut chunks = Vec::new();
        for chunk in batch.chunks(500) {
            let (inner, chunk) = (Arc::clone(&self.inner), chunk.to_vec());
            chunks.push(tokio::spawn(async move {
                chunk.iter().map(|raw| inner.answer(raw)).collect::<Vec<_>>()
            }));
        }
        let mut results = Vec::with_capacity(batch.len());
        for chunk in chunks {
            results.extend(chunk.await.expect("processing does not panic"));
        }
        results
    }
}

impl Inner {
    fn answer(&self, raw: &[u8]) -> Result<Bytes, Reject> {
        let mut out = Vec::with_capacity(raw.len() + 128);
        self.process(raw, &mut out).map(|_| Bytes::from(out))
    }

    fn process(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<Verdict, Reject> {
        let event = Event::read(raw)?;
        let rules = self.rules_in_force();
        let mut found = Found {
            kind: event.kind(),
            verdict: Verdict::Pass,
            rules: Vec::new(),
        };
        for rule in rules.iter() {
            if rule.holds(&event)? {
                found.rules.push(&rule.name);
                found.verdict = found.verdict.max(match rule.action {
                    Action::Flag => Verdict::Flag,
                    Action::Block => Verdict::Block,
                });
            }
        }
        event.write_with(&found, out);
        Ok(found.verdict)
    }

    fn rules_in_force(&self) -> Arc<[Rule]> {
        Arc::clone(&self.rules.borrow())
    }
}

fn compile(rules: &[RuleSpec]) -> Result<Arc<[Rule]>, RuleError> {
    rules.iter().map(Rule::new).collect()
}
