use std::collections::BTreeMap;
use std::fmt;

use regex::{Regex, RegexSet};

use crate::event::{Event, Looked};

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

/// From how many rules of one field on it pays to ask for all of them at once first.
const MANY: usize = 4;

/// A set of rules at work, by the field that they look at.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) looked: Looked,
    /// As they stand in the output, quotes included; and what becomes of the event.
    pub(crate) names: Vec<(String, Action)>,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    field: usize,
    /// Whether any of them holds; `None` where there are few.
    any: Option<RegexSet>,
    /// With their numbers in the set.
    rules: Vec<(usize, Regex)>,
}

impl Rules {
    pub(crate) fn new(specs: &[RuleSpec]) -> Result<Rules, RuleError> {
        let mut rules = Rules {
            looked: Looked::new(),
            names: Vec::with_capacity(specs.len()),
            groups: Vec::new(),
        };
        let mut groups = BTreeMap::<usize, Vec<(usize, Regex)>>::new();
        for (number, spec) in specs.iter().enumerate() {
            let refused = |reason: String| RuleError {
                rule: spec.name.clone(),
                reason,
            };
            let pattern = Regex::new(&spec.pattern).map_err(|error| refused(error.to_string()))?;
            let name = serde_json::to_string(&spec.name).map_err(|error| refused(error.to_string()))?;
            rules.names.push((name, spec.action));
            let field = rules.looked.at(&spec.field);
            groups.entry(field).or_default().push((number, pattern));
        }
        for (field, group) in groups {
            let patterns = group.iter().map(|(_, pattern)| pattern.as_str());
            let any = (group.len() >= MANY).then(|| RegexSet::new(patterns)).transpose();
            let any = any.map_err(|error| RuleError {
                rule: specs[group[0].0].name.clone(),
                reason: error.to_string(),
            })?;
            rules.groups.push(Group {
                field,
                any,
                rules: group,
            });
        }
        Ok(rules)
    }

    /// The numbers of those that hold, in order.
    pub(crate) fn hold(&self, event: &Event<'_>) -> Vec<usize> {
        let mut hold = Vec::new();
        for group in &self.groups {
            let Some(text) = event.text(group.field) else { continue };
            if group.any.as_ref().is_some_and(|any| !any.is_match(text)) {
                continue;
            }
            let holding = group.rules.iter().filter(|(_, pattern)| pattern.is_match(text));
            hold.extend(holding.map(|(number, _)| *number));
        }
        hold.sort_unstable();
        hold
    }
}
