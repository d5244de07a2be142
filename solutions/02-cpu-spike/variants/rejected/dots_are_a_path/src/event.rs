use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

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

/// A valid event. It borrows from the text that it was read from, and lives as long as one call.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    fields: Fields<'a>,
    body: Fields<'a>,
    kind: &'static str,
}

impl<'a> Event<'a> {
    pub(crate) fn read(raw: &'a [u8]) -> Result<Event<'a>, Reject> {
        if raw.len() > MAX_EVENT_BYTES {
            return Err(Reject::TooLarge);
        }
        if is_too_deep(raw) {
            return Err(Reject::Malformed);
        }
        let fields: Fields<'a> = serde_json::from_slice(raw).map_err(|error| match error.is_data() {
            true => Reject::Invalid,
            false => Reject::Malformed,
        })?;
        let is_stamped = fields.integer::<u64>("id") && fields.integer::<u64>("at");
        let is_owned = fields.text("tenant")?.is_some_and(|tenant| !tenant.is_empty());
        let body = fields.object("body").ok_or(Reject::Invalid)?;
        let kind = body
            .kind()?
            .filter(|_| is_stamped && is_owned)
            .ok_or(Reject::Invalid)?;
        Ok(Event { fields, body, kind })
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// The text of a field of the event (`tenant`) or of its body (`body.path`).
    pub(crate) fn text(&self, field: &str) -> Result<Option<Cow<'a, str>>, Reject> {
        match field.strip_prefix("body.") {
            Some(key) => match key.split_once('.') {
                Some((outer, inner)) => match self.body.object(outer) {
                    Some(object) => object.text(inner).map(|text| text.map(|text| Cow::Owned(text.into_owned()))),
                    None => Ok(None),
                },
                None => self.body.text(key),
            },
            None => self.fields.text(field),
        }
    }

    /// Appends the event with what was found out about it. Fields are copied as they stand in the text, so no number
    /// changes on its way.
    pub(crate) fn write_with(&self, found: &impl Serialize, out: &mut Vec<u8>) {
        out.push(b'{');
        for (key, value) in self.fields.0.iter().filter(|(key, _)| key.0 != "gatekeeper") {
            write(&key.0, out);
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
            out.push(b',');
        }
        out.extend_from_slice(b"\"gatekeeper\":");
        write(found, out);
        out.push(b'}');
    }
}

/// The fields of an object, as they stand in the text. A key may occur more than once; its last value counts.
#[derive(Debug)]
struct Fields<'a>(Vec<(Text<'a>, &'a RawValue)>);

/// Borrowed, unless there is an escape in it.
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Option<&'a RawValue> {
        let last = self.0.iter().rev().find(|(name, _)| name.0 == key);
        last.map(|(_, value)| *value)
    }

    fn text(&self, key: &str) -> Result<Option<Cow<'a, str>>, Reject> {
        let raw = self
            .get(key)
            .map(RawValue::get)
            .filter(|raw| raw.starts_with('"'));
        let text = raw.map(serde_json::from_str::<Text<'a>>).transpose();
        // Half of a surrogate pair is all that can still be wrong.
        text.map(|text| text.map(|text| text.0))
            .map_err(|_| Reject::Malformed)
    }

    fn integer<T: std::str::FromStr>(&self, key: &str) -> bool {
        self.get(key).is_some_and(|raw| raw.get().parse::<T>().is_ok())
    }

    fn object(&self, key: &str) -> Option<Fields<'a>> {
        serde_json::from_str(self.get(key)?.get()).ok()
    }

    /// What an event with this body is: the first kind whose fields are all there.
    fn kind(&self) -> Result<Option<&'static str>, Reject> {
        let both = |a, b| Ok::<_, Reject>(self.text(a)?.is_some() && self.text(b)?.is_some());
        Ok(
            if self.integer::<i64>("amount") && self.text("currency")?.is_some() {
                Some("payment")
            } else if both("user", "ip")? {
                Some("login")
            } else if both("path", "agent")? {
                Some("view")
            } else {
                None
            },
        )
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

fn write(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("texts and verdicts are JSON, and a vector takes them");
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
