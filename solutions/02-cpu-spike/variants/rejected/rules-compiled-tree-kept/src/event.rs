use std::fmt;

use serde::Deserialize;
use serde_json::Value;

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

/// What the schema asks for. An event may have more.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "they have to be there; the document carries them on")]
struct Envelope {
    id: u64,
    tenant: String,
    at: u64,
    body: Body,
}

/// In the order in which they were added to the schema.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "as above")]
enum Body {
    Payment { amount: i64, currency: String },
    Login { user: String, ip: String },
    View { path: String, agent: String },
}

/// A valid event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    document: Value,
    kind: &'static str,
}

impl Event {
    pub(crate) fn read(raw: &[u8]) -> Result<Event, Reject> {
        if raw.len() > MAX_EVENT_BYTES {
            return Err(Reject::TooLarge);
        }
        let document: Value = serde_json::from_slice(raw).map_err(|_| Reject::Malformed)?;
        let envelope: Envelope = serde_json::from_value(document.clone()).map_err(|_| Reject::Invalid)?;
        if !document.is_object() || envelope.tenant.is_empty() {
            return Err(Reject::Invalid);
        }
        let kind = match envelope.body {
            Body::Payment { .. } => "payment",
            Body::Login { .. } => "login",
            Body::View { .. } => "view",
        };
        Ok(Event { document, kind })
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// The text of a field of the event (`tenant`) or of its body (`body.path`).
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        let value = match field.strip_prefix("body.") {
            Some(key) => &self.document["body"][key],
            None => &self.document[field],
        };
        value.as_str()
    }

    /// The event with what was found out about it.
    pub(crate) fn write_with(mut self, found: Value, out: &mut Vec<u8>) {
        self.document["gatekeeper"] = found;
        serde_json::to_writer(out, &self.document).expect("a document is JSON, and a vector takes it");
    }
}
