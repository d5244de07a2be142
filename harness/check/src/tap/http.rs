//! As much of HTTP/1.1 as it takes to know where a message ends.

use bytes::{Bytes, BytesMut};
use std::io;

/// The longest head that is read, in bytes.
const HEAD_LEN_MAX: usize = 64 * 1024;
/// The longest message, in bytes: larger than what the servers here allow.
const MESSAGE_LEN_MAX: usize = 64 * 1024 * 1024;

/// The first lines of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// The first line, as in `POST /v3/kv/txn HTTP/1.1` or `HTTP/1.1 200 OK`, and the fields, without the empty line.
    pub text: String,
    /// Bytes up to the body.
    pub len: usize,
    pub body: Body,
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    Sized(usize),
    Chunked,
    UntilClosed,
}

impl Head {
    /// What stands at the beginning of `buf`; `None` while it is not whole.
    pub fn parse(buf: &[u8]) -> io::Result<Option<Head>> {
        let Some(end) = find(buf, b"\r\n\r\n") else {
            return match buf.len() > HEAD_LEN_MAX {
                true => Err(invalid("no end of an HTTP head")),
                false => Ok(None),
            };
        };
        let text = String::from_utf8_lossy(&buf[..end]).into_owned();
        let first = text.lines().next().unwrap_or_default();
        let answer = first.starts_with("HTTP/1.");
        if !answer && !first.contains(" HTTP/1.") {
            return Err(invalid("no HTTP/1.1"));
        }
        let empty = [" 204", " 304", " 1"].iter().any(|code| first.contains(code));
        let body = if field(&text, "transfer-encoding").is_some() {
            Body::Chunked
        } else if let Some(len) = field(&text, "content-length") {
            Body::Sized(len.parse().map_err(|_| invalid("a length that is none"))?)
        } else if answer && !empty {
            Body::UntilClosed
        } else {
            Body::Sized(0)
        };
        Ok(Some(Head {
            text,
            len: end + 4,
            body,
        }))
    }

    /// The path of a request, without its query.
    pub fn path(&self) -> &str {
        let target = self.text.split(' ').nth(1).unwrap_or_default();
        target.split('?').next().unwrap_or_default()
    }

    /// The length of the whole message at the beginning of `buf`; `None` while it is not whole.
    pub fn message_len(&self, buf: &[u8]) -> io::Result<Option<usize>> {
        let len = match self.body {
            Body::Sized(len) => Some(len).filter(|len| buf.len() - self.len >= *len),
            Body::Chunked => chunked(&buf[self.len..], |_| {})?,
            Body::UntilClosed => None,
        };
        if len.is_none() && buf.len() > MESSAGE_LEN_MAX {
            return Err(invalid("a message without end"));
        }
        Ok(len.map(|len| self.len + len))
    }

    /// The body of this head's whole message, in one piece.
    pub fn body_of(&self, message: Bytes) -> io::Result<Bytes> {
        let body = message.slice(self.len..);
        if self.body != Body::Chunked {
            return Ok(body);
        }
        let mut whole = BytesMut::with_capacity(body.len());
        chunked(&body, |chunk| whole.extend_from_slice(chunk))?;
        Ok(whole.freeze())
    }
}

/// The length of a chunked body, each of whose chunks is told to `hear`; `None` while it is not whole.
fn chunked(buf: &[u8], mut hear: impl FnMut(&[u8])) -> io::Result<Option<usize>> {
    let mut at = 0;
    loop {
        let Some(line_len) = find(&buf[at..], b"\r\n") else {
            return Ok(None);
        };
        let line = String::from_utf8_lossy(&buf[at..at + line_len]);
        let digits = line.split(';').next().unwrap_or_default().trim();
        let len = usize::from_str_radix(digits, 16).map_err(|_| invalid("a chunk without a length"))?;
        if len > MESSAGE_LEN_MAX {
            return Err(invalid("a message without end"));
        }
        // The last chunk is empty; a line ends the trailers, of which these servers send none.
        let chunk = at + line_len + 2;
        at = chunk + len + 2;
        if buf.len() < at {
            return Ok(None);
        }
        hear(&buf[chunk..chunk + len]);
        if len == 0 {
            return Ok(Some(at));
        }
    }
}

/// A field's value; names know no case.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn find(buf: &[u8], needle: &[u8]) -> Option<usize> {
    buf.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("POST /v3/kv/txn HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", Some(49))]
    #[case("POST /v3/kv/txn HTTP/1.1\r\nContent-Length: 3\r\n\r\n{}", None)]
    #[case("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", Some(33))]
    #[case("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{", Some(39))]
    #[case(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{ }\r\n0\r\n\r\n",
        Some(60)
    )]
    #[case("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{ }\r\n", None)]
    #[case("HTTP/1.0 200 OK\r\n\r\n{}", None)]
    fn the_end_of_a_message_is_known(#[case] text: &str, #[case] len: Option<usize>) {
        let head = Head::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(head.message_len(text.as_bytes()).unwrap(), len);
    }

    #[test]
    fn half_a_head_is_no_message_and_something_else_is_an_error() {
        assert_eq!(Head::parse(b"POST /v3/kv/txn HTTP/1.1\r\nHost:").unwrap(), None);
        assert!(Head::parse(b"PRI * HTTP/2.0\r\n\r\n").is_err());
        let head = Head::parse(b"POST /v3/kv/txn?x=1 HTTP/1.1\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!(head.path(), "/v3/kv/txn");
    }
}
