use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use crate::scan::{Scanner, Value};

/// The largest event that is looked at.
pub const MAX_EVENT_BYTES: usize = 64 * 1024;

/// Why an event went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Longer than [`MAX_EVENT_BYTES`].
    TooLarge,
    /// Not one JSON text, or nested too deep.
    Malformed,
    /// JSON, but not an event.
    Invalid,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reject::TooLarge => "the event is too large",
            Reject::Malformed => "the event is no JSON text",
            Reject::Invalid => "the event does not follow the schema",
        })
    }
}

impl std::error::Error for Reject {}

/// What the schema asks for, and where it stands among the fields that are looked at. An event may have more.
const SCHEMA: [&str; 10] = [
    "id", "tenant", "at", "body", "body.amount", "body.currency", "body.user", "body.ip", "body.path", "body.agent",
];
const ID: usize = 0;
const TENANT: usize = 1;
const AT: usize = 2;
const BODY: usize = 3;
const AMOUNT: usize = 4;
const CURRENCY: usize = 5;
const USER: usize = 6;
const IP: usize = 7;
const PATH: usize = 8;
const AGENT: usize = 9;

/// The fields that the schema and the rules look at, by level and key.
#[derive(Debug)]
pub(crate) struct Looked {
    event: HashMap<String, usize>,
    body: HashMap<String, usize>,
}

impl Looked {
    pub(crate) fn new() -> Looked {
        let mut looked = Looked {
            event: HashMap::new(),
            body: HashMap::new(),
        };
        for field in SCHEMA {
            looked.at(field);
        }
        looked
    }

    /// The number of a field.
    pub(crate) fn at(&mut self, field: &str) -> usize {
        let next = self.event.len() + self.body.len();
        let (level, key) = match field.strip_prefix("body.") {
            Some(key) => (&mut self.body, key),
            None => (&mut self.event, field),
        };
        *level.entry(key.to_owned()).or_insert(next)
    }
}

/// A valid event.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    text: &'a str,
    fields: Vec<Value<'a>>,
    kind: &'static str,
}

impl<'a> Event<'a> {
    pub(crate) fn read(raw: &'a [u8], looked: &Looked) -> Result<Event<'a>, Reject> {
        if raw.len() > MAX_EVENT_BYTES {
            return Err(Reject::TooLarge);
        }
        let text = std::str::from_utf8(raw).map_err(|_| Reject::Malformed)?;
        let mut fields = vec![Value::Other; looked.event.len() + looked.body.len()];
        let mut scanner = Scanner::new(text);
        let is_object = read_event(&mut scanner, looked, &mut fields).ok_or(Reject::Malformed)?;
        if !is_object {
            return Err(Reject::Invalid);
        }
        let kind = kind(&fields).ok_or(Reject::Invalid)?;
        Ok(Event { text, fields, kind })
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// The text of the field with this number, if it is one.
    pub(crate) fn text(&self, field: usize) -> Option<&str> {
        match &self.fields[field] {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// All of the event but the brace at its end. It has fields, so another may follow behind a comma; being the last, it is
    /// the one that counts.
    pub(crate) fn open(&self) -> &'a str {
        let text = self.text.trim_ascii_end();
        &text[..text.len() - 1]
    }
}

/// Whether it is an object; `None` if it is no JSON text.
fn read_event<'a>(scanner: &mut Scanner<'a>, looked: &Looked, fields: &mut [Value<'a>]) -> Option<bool> {
    let is_object = scanner.opens_object();
    if is_object {
        let mut more = scanner.first_key()?;
        while let Some(key) = more {
            match looked.event.get(&*key) {
                Some(&BODY) if scanner.opens_object() => {
                    looked.body.values().for_each(|&field| fields[field] = Value::Other);
                    read_body(scanner, looked, fields)?;
                    fields[BODY] = Value::Object;
                }
                Some(&field) => fields[field] = scanner.value(1)?,
                None => scanner.skip(1)?,
            }
            more = scanner.next_key()?;
        }
    } else {
        scanner.skip(0)?;
    }
    scanner.end()?;
    Some(is_object)
}

fn read_body<'a>(scanner: &mut Scanner<'a>, looked: &Looked, fields: &mut [Value<'a>]) -> Option<()> {
    let mut more = scanner.first_key()?;
    while let Some(key) = more {
        match looked.body.get(&*key) {
            Some(&field) => fields[field] = scanner.value(2)?,
            None => scanner.skip(2)?,
        }
        more = scanner.next_key()?;
    }
    Some(())
}

/// The kind, if it follows the schema.
fn kind(fields: &[Value<'_>]) -> Option<&'static str> {
    let is_text = |field: usize| matches!(fields[field], Value::Text(_));
    let number = |field: usize| match fields[field] {
        Value::Integer(digits) => Some(digits),
        _ => None,
    };
    let tenant = matches!(&fields[TENANT], Value::Text(tenant) if !tenant.is_empty());
    let unsigned = |field| number(field).is_some_and(|digits| digits.parse::<u64>().is_ok());
    if !tenant || !unsigned(ID) || !unsigned(AT) || !matches!(fields[BODY], Value::Object) {
        return None;
    }
    if number(AMOUNT).is_some_and(|digits| digits.parse::<i64>().is_ok()) && is_text(CURRENCY) {
        Some("payment")
    } else if is_text(USER) && is_text(IP) {
        Some("login")
    } else if is_text(PATH) && is_text(AGENT) {
        Some("view")
    } else {
        None
    }
}

/// A text as it stands between its quotes, decoded; `None` for half a surrogate pair.
pub(crate) fn decoded<'a>(quoted: &'a str, escaped: bool) -> Option<Cow<'a, str>> {
    if escaped {
        serde_json::from_str(quoted).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(&quoted[1..quoted.len() - 1]))
    }
}
