use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::Serialize;

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
    rules: ArcSwap<Vec<Rule>>,
}

impl Pipeline {
    pub fn new(rules: Vec<RuleSpec>) -> Result<Self, RuleError> {
        let rules = ArcSwap::from_pointee(compile(&rules)?);
        Ok(Pipeline {
            inner: Arc::new(Inner { rules }),
        })
    }

    /// Puts other rules in the place of those in force. With an error, those in force stay.
    pub fn reload(&self, rules: Vec<RuleSpec>) -> Result<(), RuleError> {
        self.inner.rules.store(Arc::new(compile(&rules)?));
        Ok(())
    }

    /// Appends the event, with its verdict in it, to `out`; nothing when it is rejected.
    pub fn process(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<Verdict, Reject> {
        self.inner.process(raw, out)
    }

    /// One result per event, in the batch's order.
    pub async fn process_batch(&self, batch: Vec<Bytes>) -> Vec<Result<Bytes, Reject>> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || {
            batch
                .into_iter()
                .map(|raw| {
                    let mut out = Vec::with_capacity(raw.len() + 128);
                    inner.process(&raw, &mut out).map(|_| Bytes::from(out))
                })
                .collect()
        });
        done.await.expect("processing does not panic")
    }
}

impl Inner {
    fn process(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<Verdict, Reject> {
        let event = Event::read(raw)?;
        let rules = self.rules.load();
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
}

fn compile(rules: &[RuleSpec]) -> Result<Vec<Rule>, RuleError> {
    rules.iter().map(Rule::new).collect()
}
