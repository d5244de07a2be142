use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

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

/// Validates events and holds the rules against them.
#[derive(Clone, Debug)]
pub struct Pipeline {
    rules: Arc<RwLock<Vec<RuleSpec>>>,
}

impl Pipeline {
    pub fn new(rules: Vec<RuleSpec>) -> Result<Self, RuleError> {
        validate(&rules)?;
        Ok(Pipeline {
            rules: Arc::new(RwLock::new(rules)),
        })
    }

    /// Puts other rules in the place of those in force. With an error, those in force stay.
    pub fn reload(&self, rules: Vec<RuleSpec>) -> Result<(), RuleError> {
        validate(&rules)?;
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        Ok(())
    }

    /// Appends the event, with its verdict in it, to `out`; nothing when it is rejected.
    pub fn process(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<Verdict, Reject> {
        let event = Event::read(raw)?;
        let mut verdict = Verdict::Pass;
        let mut names = Vec::new();
        for spec in self.rules_in_force() {
            let rule = Rule::new(&spec).map_err(|_| Reject::Invalid)?;
            if rule.holds(&event) {
                names.push(rule.name.clone());
                verdict = verdict.max(match rule.action {
                    Action::Flag => Verdict::Flag,
                    Action::Block => Verdict::Block,
                });
            }
        }
        let found = json!({ "kind": event.kind(), "verdict": verdict, "rules": names });
        out.extend_from_slice(event.with(found).to_string().as_bytes());
        Ok(verdict)
    }

    /// One result per event, in the batch's order.
    pub async fn process_batch(&self, batch: Vec<Bytes>) -> Vec<Result<Bytes, Reject>> {
        let mut results = Vec::new();
        for raw in batch {
            let pipeline = self.clone();
            let answer = tokio::task::spawn_blocking(move || {
                let mut out = Vec::new();
                pipeline.process(&raw, &mut out).map(|_| out.into())
            });
            results.push(answer.await.expect("processing does not panic"));
        }
        results
    }

    fn rules_in_force(&self) -> Vec<RuleSpec> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A rule that does not compile is found out here, not when an event comes.
fn validate(rules: &[RuleSpec]) -> Result<(), RuleError> {
    rules.iter().try_for_each(|spec| Rule::new(spec).map(drop))
}
