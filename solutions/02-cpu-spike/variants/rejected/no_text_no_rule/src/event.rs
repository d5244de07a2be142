use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The largest event that is looked at.
pub const MAX_EVENT_BYTES: usize = 64 * 1024;
/// How deep an event may be nested.
const DEPTH_MAX: usize = 128;

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

/// An object, as it is written: its keys are decoded, its values are not.
#[derive(Debug)]
struct Object<'a>(Vec<(Text<'a>, &'a RawValue)>);

/// A text, decoded; a part of the event where there was nothing to decode.
#[derive(Debug)]
struct Text<'a>(Cow<'a, str>);

/// A valid event.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    event: Object<'a>,
    body: Object<'a>,
    kind: &'static str,
}

impl<'a> Event<'a> {
    pub(crate) fn read(raw: &'a [u8]) -> Result<Event<'a>, Reject> {
        if raw.len() > MAX_EVENT_BYTES {
            return Err(Reject::TooLarge);
        }
        let text = std::str::from_utf8(raw).map_err(|_| Reject::Malformed)?;
        if !is_shallow(raw) {
            return Err(Reject::Malformed);
        }
        if !text.trim_ascii_start().starts_with('{') {
            let other = serde_json::from_str::<&RawValue>(text);
            return Err(other.map_or(Reject::Malformed, |_| Reject::Invalid));
        }
        let event: Object<'_> = serde_json::from_str(text).map_err(|_| Reject::Malformed)?;
        let body = event.get("body").ok_or(Reject::Invalid)?;
        let body = Object::read(body)?.ok_or(Reject::Invalid)?;
        let mut event = Event { event, body, kind: "" };
        event.kind = event.check()?.ok_or(Reject::Invalid)?;
        Ok(event)
    }

    /// The kind, if it follows the schema.
    fn check(&self) -> Result<Option<&'static str>, Reject> {
        let Event { event, body, .. } = self;
        let unsigned = |key: &str| event.get(key).is_some_and(|raw| raw.get().parse::<u64>().is_ok());
        let tenant = event.text("tenant")?;
        if tenant.is_none_or(|tenant| tenant.is_empty()) || !unsigned("id") || !unsigned("at") {
            return Ok(None);
        }
        let amount = body.get("amount").map(RawValue::get);
        let amount = amount.is_some_and(|amount| amount != "-0" && amount.parse::<i64>().is_ok());
        let [currency, user, ip, path, agent] =
            ["currency", "user", "ip", "path", "agent"].map(|key| body.text(key).map(|text| text.is_some()));
        let (currency, user, ip, path, agent) = (currency?, user?, ip?, path?, agent?);
        Ok(if amount && currency {
            Some("payment")
        } else if user && ip {
            Some("login")
        } else if path && agent {
            Some("view")
        } else {
            None
        })
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// The text of a field of the event (`tenant`) or of its body (`body.path`).
    pub(crate) fn text(&self, field: &str) -> Result<Option<Cow<'a, str>>, Reject> {
        match field.strip_prefix("body.") {
            Some(key) => self.body.text(key),
            None => self.event.text(field),
        }
    }

    /// Writes all fields that the event came with, each with a comma behind it. What was found out takes the place of one.
    pub(crate) fn write(&self, found: &str, out: &mut Vec<u8>) {
        for (Text(key), raw) in &self.event.0 {
            if key == found {
                continue;
            }
            write_text(key, out);
            out.push(b':');
            out.extend_from_slice(raw.get().as_bytes());
            out.push(b',');
        }
    }
}

pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing into memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

impl<'a> Object<'a> {
    /// `None` if it is another value.
    fn read(raw: &'a RawValue) -> Result<Option<Object<'a>>, Reject> {
        if !raw.get().starts_with('{') {
            return Ok(None);
        }
        let object = serde_json::from_str(raw.get()).map_err(|_| Reject::Malformed)?;
        Ok(Some(object))
    }

    /// Of a key that occurs more than once, the last.
    fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(Text(other), _)| other == key).map(|(_, raw)| *raw)
    }

    /// The value of a key if that is a text.
    fn text(&self, key: &str) -> Result<Option<Cow<'a, str>>, Reject> {
        let Some(raw) = self.get(key).map(RawValue::get) else {
            return Ok(None);
        };
        if !raw.starts_with('"') {
            return Ok(None);
        }
        if !raw.contains('\\') {
            return Ok(Some(Cow::Borrowed(&raw[1..raw.len() - 1])));
        }
        let Text(text) = serde_json::from_str(raw).map_err(|_| Reject::Malformed)?;
        Ok(Some(text))
    }
}

/// A raw value may be nested as deep as it likes. Brackets within texts do not count.
fn is_shallow(raw: &[u8]) -> bool {
    let (mut depth, mut in_text) = (0_usize, false);
    let mut bytes = raw.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_text = !in_text,
            b'\\' if in_text => {
                bytes.next();
            }
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return false;
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

impl<'a> Deserialize<'a> for Object<'a> {
    fn deserialize<D: Deserializer<'a>>(json: D) -> Result<Object<'a>, D::Error> {
        struct Fields;

        impl<'a> Visitor<'a> for Fields {
            type Value = Object<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Object<'a>, A::Error> {
                let mut fields = Vec::with_capacity(12);
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Object(fields))
            }
        }

        json.deserialize_map(Fields)
    }
}

impl<'a> Deserialize<'a> for Text<'a> {
    fn deserialize<D: Deserializer<'a>>(json: D) -> Result<Text<'a>, D::Error> {
        struct Decoded;

        impl<'a> Visitor<'a> for Decoded {
            type Value = Text<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Text<'a>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'a>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        json.deserialize_str(Decoded)
    }
}
