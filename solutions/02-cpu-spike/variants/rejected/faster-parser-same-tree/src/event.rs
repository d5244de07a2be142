use std::fmt;

use simd_json::OwnedValue;
use simd_json::prelude::*;

/// The largest event that is looked at.
pub const MAX_EVENT_BYTES: usize = 64 * 1024;
/// Values that nobody here looks into are passed on as they are, so nesting is bounded before, for whoever parses them.
const MAX_DEPTH: usize = 128;

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

/// A valid event.
pub(crate) struct Event {
    document: OwnedValue,
    kind: &'static str,
}

impl Event {
    pub(crate) fn read(raw: &[u8]) -> Result<Event, Reject> {
        if raw.len() > MAX_EVENT_BYTES {
            return Err(Reject::TooLarge);
        }
        if is_too_deep(raw) {
            return Err(Reject::Malformed);
        }
        let document = simd_json::to_owned_value(&mut raw.to_vec()).map_err(|_| Reject::Malformed)?;
        let stamped = ["id", "at"].iter().all(|key| document.get_u64(*key).is_some());
        let owned = document
            .get_str("tenant")
            .is_some_and(|tenant| !tenant.is_empty());
        let kind = document.get("body").and_then(kind).filter(|_| stamped && owned);
        Ok(Event {
            kind: kind.ok_or(Reject::Invalid)?,
            document,
        })
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        match field.strip_prefix("body.") {
            Some(key) => self.document.get("body")?.get_str(key),
            None => self.document.get_str(field),
        }
    }

    pub(crate) fn write_with(mut self, found: OwnedValue, out: &mut Vec<u8>) {
        self.document.try_insert("gatekeeper", found);
        out.extend_from_slice(self.document.encode().as_bytes());
    }
}

fn kind(body: &OwnedValue) -> Option<&'static str> {
    body.as_object()?;
    let both = |a, b| body.get_str(a).is_some() && body.get_str(b).is_some();
    if body.get_i64("amount").is_some() && body.get_str("currency").is_some() {
        Some("payment")
    } else if both("user", "ip") {
        Some("login")
    } else if both("path", "agent") {
        Some("view")
    } else {
        None
    }
}

fn is_too_deep(raw: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    raw.iter().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_DEPTH
    })
}
