use std::fmt;

use regex::RegexSet;

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

/// Rules at work: the patterns that look at one field are matched in one go.
#[derive(Debug)]
pub(crate) struct Rules {
    names: Vec<(String, Action)>,
    fields: Vec<FieldRules>,
}

#[derive(Debug)]
struct FieldRules {
    field: String,
    patterns: RegexSet,
    /// Where each pattern's rule stands in the set.
    places: Vec<usize>,
}

impl Rules {
    pub(crate) fn new(specs: &[RuleSpec]) -> Result<Rules, RuleError> {
        let error = |spec: &RuleSpec, error: regex::Error| RuleError {
            rule: spec.name.clone(),
            reason: error.to_string(),
        };
        for spec in specs {
            regex::Regex::new(&spec.pattern).map_err(|refused| error(spec, refused))?;
        }
        let mut by_field: Vec<(&str, Vec<usize>)> = Vec::new();
        for (place, spec) in specs.iter().enumerate() {
            match by_field.iter_mut().find(|(field, _)| *field == spec.field) {
                Some((_, places)) => places.push(place),
                None => by_field.push((&spec.field, vec![place])),
            }
        }
        let fields = by_field.into_iter().map(|(field, places)| {
            let patterns = RegexSet::new(places.iter().map(|place| &specs[*place].pattern));
            Ok(FieldRules {
                field: field.to_owned(),
                patterns: patterns.map_err(|refused| error(&specs[places[0]], refused))?,
                places,
            })
        });
        Ok(Rules {
            fields: fields.collect::<Result<_, _>>()?,
            names: specs
                .iter()
                .map(|spec| (spec.name.clone(), spec.action))
                .collect(),
        })
    }

    /// The rules that hold, in the order of the set.
    pub(crate) fn holding(&self, event: &Event<'_>) -> Result<Vec<&(String, Action)>, Reject> {
        let mut places: Vec<usize> = Vec::new();
        for rules in &self.fields {
            if let Some(text) = event.text(&rules.field)?
                && rules.patterns.is_match(&text)
            {
                places.extend(
                    rules
                        .patterns
                        .matches(&text)
                        .into_iter()
                        .map(|index| rules.places[index]),
                );
            }
        }
        places.sort_unstable();
        Ok(places.into_iter().map(|place| &self.names[place]).collect())
    }
}
