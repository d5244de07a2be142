use std::sync::{Arc, PoisonError, RwLock};

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
    /// Compiled, and never changed once they stand here: a reload puts another set in their place. An event that is
    /// being processed keeps the set that it began with; whoever is last frees it.
    rules: RwLock<Arc<[Rule]>>,
}

impl Pipeline {
    pub fn new(rules: Vec<RuleSpec>) -> Result<Self, RuleError> {
        Ok(Pipeline {
            rules: RwLock::new(compile(&rules)?),
        })
    }

    /// Puts other rules in the place of those in force. With an error, those in force stay.
    pub fn reload(&self, rules: Vec<RuleSpec>) -> Result<(), RuleError> {
        // Compiled before the lock is taken: nobody waits for a compiler.
        let rules = compile(&rules)?;
        let before = std::mem::replace(
            &mut *self.rules.write().unwrap_or_else(PoisonError::into_inner),
            rules,
        );
        drop(before);
        Ok(())
    }

    /// Appends the event, with its verdict in it, to `out`; nothing when it is rejected.
    pub fn process(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<Verdict, Reject> {
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

    /// One result per event, in the batch's order.
    pub async fn process_batch(&self, batch: Vec<Bytes>) -> Vec<Result<Bytes, Reject>> {
        let mut results = Vec::with_capacity(batch.len());
        let mut out = Vec::new();
        for raw in batch {
            tokio::task::consume_budget().await;
            out.clear();
            results.push(self.process(&raw, &mut out).map(|_| Bytes::copy_from_slice(&out)));
        }
        results
    }

    fn rules_in_force(&self) -> Arc<[Rule]> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn compile(rules: &[RuleSpec]) -> Result<Arc<[Rule]>, RuleError> {
    rules.iter().map(Rule::new).collect()
}
