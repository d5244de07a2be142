use std::fmt;

use regex::Regex;

use crate::event::Event;

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

/// A rule at work. It is made once per reload; matching costs neither a compilation nor an allocation.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) action: Action,
    field: String,
    pattern: Regex,
}

impl Rule {
    pub(crate) fn new(spec: &RuleSpec) -> Result<Rule, RuleError> {
        let pattern = Regex::new(&spec.pattern).map_err(|error| RuleError {
            rule: spec.name.clone(),
            reason: error.to_string(),
        })?;
        Ok(Rule {
            name: spec.name.clone(),
            action: spec.action,
            field: spec.field.clone(),
            pattern,
        })
    }

    pub(crate) fn holds(&self, event: &Event) -> bool {
        event
            .text(&self.field)
            .is_some_and(|text| self.pattern.is_match(text))
    }
}
