//! What the contract says of an event.

use regex::Regex;

use crate::json::Json;
use crate::subject::{Action, MAX_EVENT_BYTES, Reject, RuleSpec, Verdict};

/// A rule set whose answers are known.
#[derive(Debug)]
pub struct Model {
    rules: Vec<(RuleSpec, Regex)>,
}

/// What is to become of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Passed(Verdict, Json),
    Rejected(Reject),
}

impl Model {
    /// # Panics
    /// When a pattern is none; the checks write them.
    pub fn new(rules: &[RuleSpec]) -> Model {
        let compiled = |rule: &RuleSpec| match Regex::new(&rule.pattern) {
            Ok(regex) => (rule.clone(), regex),
            Err(error) => panic!("{}: {error}", rule.name),
        };
        Model {
            rules: rules.iter().map(compiled).collect(),
        }
    }

    pub fn answer(&self, raw: &[u8]) -> Answer {
        if raw.len() > MAX_EVENT_BYTES {
            return Answer::Rejected(Reject::TooLarge);
        }
        let Some(event) = Json::parse(raw) else {
            return Answer::Rejected(Reject::Malformed);
        };
        let Some(kind) = kind(&event) else {
            return Answer::Rejected(Reject::Invalid);
        };
        let holding: Vec<&RuleSpec> = self
            .rules
            .iter()
            .filter(|(rule, regex)| field(&event, &rule.field).is_some_and(|text| regex.is_match(text)))
            .map(|(rule, _)| rule)
            .collect();
        let verdict = holding
            .iter()
            .map(|rule| match rule.action {
                Action::Flag => Verdict::Flag,
                Action::Block => Verdict::Block,
            })
            .max_by_key(|verdict| rank(*verdict))
            .unwrap_or(Verdict::Pass);
        let names = holding.iter().map(|rule| Json::Text(rule.name.clone())).collect();
        let found = Json::Object(vec![
            ("kind".to_owned(), Json::Text(kind.to_owned())),
            ("verdict".to_owned(), Json::Text(word(verdict).to_owned())),
            ("rules".to_owned(), Json::List(names)),
        ]);
        let Json::Object(mut fields) = event else {
            return Answer::Rejected(Reject::Invalid);
        };
        fields.push(("gatekeeper".to_owned(), found));
        Answer::Passed(verdict, Json::Object(fields))
    }
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Flag => 1,
        Verdict::Block => 2,
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Flag => "flag",
        Verdict::Block => "block",
    }
}

fn field<'a>(event: &'a Json, name: &str) -> Option<&'a str> {
    match name.strip_prefix("body.") {
        Some(key) => event.get("body")?.get(key)?.text(),
        None => event.get(name)?.text(),
    }
}

/// The kind of a valid event; `None` when it is not valid.
fn kind(event: &Json) -> Option<&'static str> {
    let unsigned = |key| {
        let number = event.get(key).and_then(Json::integer)?;
        u64::try_from(number).ok()
    };
    unsigned("id")?;
    unsigned("at")?;
    event.get("tenant")?.text().filter(|tenant| !tenant.is_empty())?;
    let body = event.get("body")?;
    let has_text = |key| body.get(key).and_then(Json::text).is_some();
    let amount = body.get("amount").and_then(Json::integer);
    if amount.is_some_and(|amount| i64::try_from(amount).is_ok()) && has_text("currency") {
        Some("payment")
    } else if has_text("user") && has_text("ip") {
        Some("login")
    } else if has_text("path") && has_text("agent") {
        Some("view")
    } else {
        None
    }
}

impl Answer {
    /// What is wrong with a subject's answer: its verdict or rejection, and what it appended.
    pub fn differs(&self, result: Result<Verdict, Reject>, appended: &[u8]) -> Option<String> {
        match (self, result) {
            (Answer::Rejected(_), _) if result.is_err() && !appended.is_empty() => {
                Some("something was appended for an event that was rejected".to_owned())
            }
            (Answer::Rejected(reject), Err(told)) if *reject == told => None,
            (Answer::Passed(verdict, expected), Ok(told)) if *verdict == told => {
                match Json::parse(appended) {
                    Some(json) => expected.differs(&json),
                    None => Some(format!(
                        "what was appended is not one JSON text: {}",
                        excerpt(appended)
                    )),
                }
            }
            (Answer::Rejected(reject), told) => Some(format!("the answer was {told:?}, not {reject:?}")),
            (Answer::Passed(verdict, _), told) => Some(format!("the answer was {told:?}, not {verdict:?}")),
        }
    }
}

/// The beginning of an event, to be shown.
pub fn excerpt(raw: &[u8]) -> String {
    const SHOWN: usize = 240;
    let text = String::from_utf8_lossy(&raw[..raw.len().min(SHOWN)]).into_owned();
    let more = if raw.len() > SHOWN { "…" } else { "" };
    format!("{text}{more} ({} bytes)", raw.len())
}
