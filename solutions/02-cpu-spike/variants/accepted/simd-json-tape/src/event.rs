use std::cell::RefCell;
use std::fmt;

use serde::Serialize;
use simd_json::prelude::*;
use simd_json::tape::{Object, Value};

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

thread_local! {
    /// The parser works in place, so each thread has a copy of the text that it may spoil.
    static COPY: RefCell<(Vec<u8>, simd_json::Buffers)> = RefCell::default();
}

/// A valid event.
pub(crate) struct Event<'a, 'tape> {
    raw: &'a [u8],
    fields: Object<'tape, 'tape>,
    body: Object<'tape, 'tape>,
    kind: &'static str,
}

/// Reads an event and has it used while the parser's copy of it lives.
pub(crate) fn read<T>(
    raw: &[u8],
    used: impl FnOnce(&Event<'_, '_>) -> Result<T, Reject>,
) -> Result<T, Reject> {
    if raw.len() > MAX_EVENT_BYTES {
        return Err(Reject::TooLarge);
    }
    if is_too_deep(raw) {
        return Err(Reject::Malformed);
    }
    COPY.with_borrow_mut(|(copy, buffers)| {
        copy.clear();
        copy.extend_from_slice(raw);
        let tape = simd_json::to_tape_with_buffers(copy, buffers).map_err(|_| Reject::Malformed)?;
        let fields = tape.as_value().into_object().ok_or(Reject::Invalid)?;
        let stamped = ["id", "at"]
            .iter()
            .all(|key| last(&fields, key).is_some_and(|value| value.as_u64().is_some()));
        let owned = text(&fields, "tenant").is_some_and(|tenant| !tenant.is_empty());
        let body = last(&fields, "body")
            .and_then(|body| body.into_object())
            .ok_or(Reject::Invalid)?;
        let kind = kind(&body).filter(|_| stamped && owned).ok_or(Reject::Invalid)?;
        used(&Event {
            raw,
            fields,
            body,
            kind,
        })
    })
}

impl<'tape> Event<'_, 'tape> {
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// The text of a field of the event (`tenant`) or of its body (`body.path`).
    pub(crate) fn text(&self, field: &str) -> Option<&'tape str> {
        match field.strip_prefix("body.") {
            Some(key) => text(&self.body, key),
            None => text(&self.fields, field),
        }
    }

    /// Appends the text as it stands, and one field more, which counts because it is the last.
    pub(crate) fn write_with(&self, found: &impl Serialize, out: &mut Vec<u8>) {
        let end = self.raw.trim_ascii_end();
        out.extend_from_slice(&end[..end.len() - 1]);
        out.extend_from_slice(b",\"gatekeeper\":");
        serde_json::to_writer(&mut *out, found).expect("a verdict is JSON, and a vector takes it");
        out.push(b'}');
    }
}

fn last<'tape>(object: &Object<'tape, 'tape>, key: &str) -> Option<Value<'tape, 'tape>> {
    object
        .iter()
        .filter(|(name, _)| *name == key)
        .last()
        .map(|(_, value)| value)
}

fn text<'tape>(object: &Object<'tape, 'tape>, key: &str) -> Option<&'tape str> {
    last(object, key)?.into_string()
}

fn kind(body: &Object<'_, '_>) -> Option<&'static str> {
    let both = |a, b| text(body, a).is_some() && text(body, b).is_some();
    let amount = last(body, "amount").is_some_and(|amount| amount.as_i64().is_some());
    if amount && text(body, "currency").is_some() {
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
