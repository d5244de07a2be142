//! Redis' protocol, versions 2 and 3, as far as a tap and the grader's client need it.

use std::io::{Error, ErrorKind};

use bytes::Bytes;

/// Values inside of values, at most.
const DEPTH_MAX: usize = 64;

/// The longest line that is not the body of a string.
const LINE_LEN_MAX: usize = 64 * 1024;

/// What a server says. Kinds that no check tells apart are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    Int(i64),
    /// Strings of any kind, numbers with a fraction, large numbers, booleans.
    Text(Bytes),
    Error(String),
    /// Arrays, sets, and maps as keys and values in turn.
    Array(Vec<Value>),
    /// What the server says unasked, by version 3.
    Push(Vec<Value>),
}

impl Value {
    /// The text, of a text.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn int(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The parts of whatever has parts.
    pub fn parts(&self) -> &[Value] {
        match self {
            Value::Array(parts) | Value::Push(parts) => parts,
            _ => &[],
        }
    }
}

/// The value at the start of `buf` and its length in bytes, attributes before it included; `None` while some of it is
/// missing.
pub(super) fn value(buf: &[u8]) -> Result<Option<(Value, usize)>, Error> {
    let mut at = 0;
    Ok(one(buf, &mut at, 0)?.map(|value| (value, at)))
}

/// The command at the start of `buf`, its name first, and its length in bytes. An empty one is an empty line.
pub(super) fn command(buf: &[u8]) -> Result<Option<(Vec<Bytes>, usize)>, Error> {
    match buf.first() {
        None => Ok(None),
        Some(b'*') => {
            let Some((value, len)) = value(buf)? else {
                return Ok(None);
            };
            let args = value.parts().iter().map(|part| match part {
                Value::Text(text) => Ok(text.clone()),
                _ => Err(malformed("a command is an array of strings")),
            });
            Ok(Some((args.collect::<Result<_, _>>()?, len)))
        }
        Some(_) => {
            let mut at = 0;
            let Some(text) = line(buf, &mut at)? else {
                return Ok(None);
            };
            let words = text
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty());
            Ok(Some((words.map(Bytes::copy_from_slice).collect(), at)))
        }
    }
}

/// A command as it is sent.
pub(super) fn encode(args: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn one(buf: &[u8], at: &mut usize, depth: usize) -> Result<Option<Value>, Error> {
    if depth > DEPTH_MAX {
        return Err(malformed("values inside of values without end"));
    }
    loop {
        let Some(text) = line(buf, at)? else {
            return Ok(None);
        };
        let (kind, rest) = text.split_first().ok_or_else(|| malformed("an empty line"))?;
        let value = match kind {
            b'+' | b',' | b'(' | b'#' => Value::Text(Bytes::copy_from_slice(rest)),
            b'-' => Value::Error(String::from_utf8_lossy(rest).into_owned()),
            b':' => Value::Int(number(rest)?),
            b'_' => Value::Null,
            b'$' | b'=' | b'!' => match usize::try_from(number(rest)?) {
                Err(_) => Value::Null,
                Ok(len) => {
                    let Some(body) = buf.get(*at..*at + len + 2) else {
                        return Ok(None);
                    };
                    *at += len + 2;
                    match kind {
                        b'!' => Value::Error(String::from_utf8_lossy(&body[..len]).into_owned()),
                        _ => Value::Text(Bytes::copy_from_slice(&body[..len])),
                    }
                }
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => match usize::try_from(number(rest)?) {
                Err(_) => Value::Null,
                Ok(len) => {
                    let len = if matches!(kind, b'%' | b'|') { 2 * len } else { len };
                    let Some(parts) = many(buf, at, len, depth)? else {
                        return Ok(None);
                    };
                    match kind {
                        // Tells something about the value that follows.
                        b'|' => continue,
                        b'>' => Value::Push(parts),
                        _ => Value::Array(parts),
                    }
                }
            },
            other => {
                return Err(malformed(&format!("a value of kind {:?}", char::from(*other))));
            }
        };
        return Ok(Some(value));
    }
}

fn many(buf: &[u8], at: &mut usize, len: usize, depth: usize) -> Result<Option<Vec<Value>>, Error> {
    let mut parts = Vec::with_capacity(len.min(1024));
    for _ in 0..len {
        match one(buf, at, depth + 1)? {
            Some(part) => parts.push(part),
            None => return Ok(None),
        }
    }
    Ok(Some(parts))
}

/// A line without its end.
fn line<'a>(buf: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, Error> {
    let rest = &buf[*at..];
    match rest.iter().take(LINE_LEN_MAX).position(|byte| *byte == b'\n') {
        Some(end) => {
            *at += end + 1;
            Ok(Some(rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end])))
        }
        None if rest.len() >= LINE_LEN_MAX => Err(malformed("a line without end")),
        None => Ok(None),
    }
}

fn number(text: &[u8]) -> Result<i64, Error> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| malformed("a length or a number"))
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("not Redis' protocol: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn text(text: &str) -> Value {
        Value::Text(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[rstest]
    #[case::simple("+OK\r\n", text("OK"))]
    #[case::error("-NOSCRIPT No matching\r\n", Value::Error("NOSCRIPT No matching".to_owned()))]
    #[case::integer(":-7\r\n", Value::Int(-7))]
    #[case::bulk("$5\r\nab\r\nc\r\n", text("ab\r\nc"))]
    #[case::no_string("$-1\r\n", Value::Null)]
    #[case::no_array("*-1\r\n", Value::Null)]
    #[case::null("_\r\n", Value::Null)]
    #[case::array("*2\r\n:1\r\n*1\r\n+a\r\n", Value::Array(vec![Value::Int(1), Value::Array(vec![text("a")])]))]
    #[case::map("%1\r\n+k\r\n:1\r\n", Value::Array(vec![text("k"), Value::Int(1)]))]
    #[case::push(">2\r\n+invalidate\r\n_\r\n", Value::Push(vec![text("invalidate"), Value::Null]))]
    #[case::attribute_goes_with_its_value("|1\r\n+ttl\r\n:9\r\n+OK\r\n", text("OK"))]
    #[case::long_error("!3\r\nBAD\r\n", Value::Error("BAD".to_owned()))]
    #[case::double(",1.5\r\n", text("1.5"))]
    fn a_value_is_read_once_all_of_it_is_there(#[case] bytes: &str, #[case] expected: Value) {
        for cut in 0..bytes.len() {
            assert_eq!(value(&bytes.as_bytes()[..cut]).unwrap(), None, "cut at {cut}");
        }
        let more = format!("{bytes}+next\r\n");
        assert_eq!(value(more.as_bytes()).unwrap(), Some((expected, bytes.len())));
    }

    #[rstest]
    #[case("?\r\n")]
    #[case("*x\r\n")]
    #[case("\r\n")]
    fn something_else_is_refused(#[case] bytes: &str) {
        assert!(value(bytes.as_bytes()).is_err());
    }

    #[test]
    fn values_inside_of_values_end_somewhere() {
        assert!(value("*1\r\n".repeat(1_000).as_bytes()).is_err());
    }

    #[test]
    fn commands_are_arrays_or_lines() {
        let encoded = encode(&[b"SET", b"k", b"a\r\nb"]);
        let args = vec![
            Bytes::from_static(b"SET"),
            Bytes::from_static(b"k"),
            Bytes::from_static(b"a\r\nb"),
        ];
        assert_eq!(command(&encoded).unwrap(), Some((args, encoded.len())));
        let words = vec![Bytes::from_static(b"PING"), Bytes::from_static(b"x")];
        assert_eq!(command(b"PING  x\r\n*1").unwrap(), Some((words, 9)));
        assert_eq!(command(b"\r\n").unwrap(), Some((Vec::new(), 2)));
        assert_eq!(command(b"PING").unwrap(), None);
        assert!(command(b"*1\r\n:1\r\n").is_err());
    }
}
