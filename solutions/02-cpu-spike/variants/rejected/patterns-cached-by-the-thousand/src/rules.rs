use std::collections::HashMap;
use std::fmt;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::Regex;

use crate::event::{Event, Reject};

/// A rule, as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Stands in the verdict of an event for which the rule holds.
    pub name: String,
    /// The field that is looked at: `tenant`, or `body.path`.
    pub field: String,
    /// Where this matches in the field's text, the rule holds.
    pub pattern: String,
    pub action: Action,
}

/// What becomes of an event for which a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Somebody will look at it.
    Flag,
    /// It goes no further than the next service.
    Block,
}

/// A rule that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    pub rule: String,
    pub reason: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}: {}", self.rule, self.reason)
    }
}

impl std::error::Error for RuleError {}

/// A rule at work.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) action: Action,
    field: String,
    pattern: Regex,
}

/// Compiled patterns: the fraud desk changes one rule at a time, so most of a new set is known already.
static PATTERNS: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);

impl Rule {
    pub(crate) fn new(spec: &RuleSpec) -> Result<Rule, RuleError> {
        let mut patterns = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
        let known = patterns.get(&spec.pattern).cloned();
        let pattern = known
            .map_or_else(|| Regex::new(&spec.pattern), Ok)
            .map_err(|error| RuleError {
                rule: spec.name.clone(),
                reason: error.to_string(),
            })?;
        if patterns.len() >= 10_000 {
            patterns.clear();
        }
        patterns.insert(spec.pattern.clone(), pattern.clone());
        Ok(Rule {
            name: spec.name.clone(),
            action: spec.action,
            field: spec.field.clone(),
            pattern,
        })
    }

    pub(crate) fn holds(&self, event: &Event<'_>) -> Result<bool, Reject> {
        let text = event.text(&self.field)?;
        Ok(text.is_some_and(|text| self.pattern.is_match(&text)))
    }
}
