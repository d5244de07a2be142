use std::borrow::Cow;
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

/// A set of rules at work: what they look at, each field once.
#[derive(Debug)]
pub(crate) struct Rules {
    fields: Vec<String>,
    rules: Vec<Rule>,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) action: Action,
    field: usize,
    pattern: Regex,
}

impl Rules {
    pub(crate) fn new(specs: Vec<RuleSpec>) -> Result<Rules, RuleError> {
        let mut fields: Vec<String> = specs.iter().map(|spec| spec.field.clone()).collect();
        fields.sort_unstable();
        fields.dedup();
        let rule = |spec: RuleSpec| match Regex::new(&spec.pattern) {
            Ok(pattern) => Ok(Rule {
                field: fields.partition_point(|field| *field < spec.field),
                name: spec.name,
                action: spec.action,
                pattern,
            }),
            Err(error) => Err(RuleError {
                rule: spec.name,
                reason: error.to_string(),
            }),
        };
        let rules = specs.into_iter().map(rule).collect::<Result<_, _>>()?;
        Ok(Rules { fields, rules })
    }

    /// Those that hold, in the set's order.
    pub(crate) fn hold<'e>(&self, event: &Event<'e>) -> impl Iterator<Item = &Rule> + use<'_, 'e> {
        // What cannot be decoded is no text.
        let texts = self.fields.iter().map(|field| event.text(field).ok().flatten());
        let texts: Vec<Option<Cow<'e, str>>> = texts.collect();
        self.rules.iter().filter(move |rule| {
            texts[rule.field].as_ref().is_some_and(|text| rule.pattern.is_match(text))
        })
    }
}
