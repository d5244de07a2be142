//! As much of HTTP/1.1 as it takes to know where a message ends.

use std::io;

/// The longest head that is read, in bytes.
const HEAD_LEN_MAX: usize = 64 * 1024;

/// The first lines of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// `POST /v3/kv/txn HTTP/1.1`, or `HTTP/1.1 200 OK`.
    pub first: String,
    /// Bytes up to the body.
    pub len: usize,
    pub body: Body,
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Sized(usize),
    Chunked,
    UntilClosed,
}

impl Head {
    /// What stands at the beginning of `buf`; `None` while it is not whole.
    pub fn parse(buf: &[u8]) -> io::Result<Option<Head>> {
        let Some(end) = find(buf, b"\r\n\r\n") else {
            return match buf.len() > HEAD_LEN_MAX {
                true => Err(io::Error::other("no end of an HTTP head")),
                false => Ok(None),
            };
        };
        let text = String::from_utf8_lossy(&buf[..end]).into_owned();
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let answer = first.starts_with("HTTP/1.");
        if !answer && !first.contains(" HTTP/1.") {
            return Err(io::Error::other("no HTTP/1.1"));
        }
        let mut body = match answer {
            true if [" 204", " 304", " 1"].iter().any(|code| first.contains(code)) => Body::Sized(0),
            true => Body::UntilClosed,
            false => Body::Sized(0),
        };
        for line in lines {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            if name.eq_ignore_ascii_case("content-length") {
                let len = value.trim().parse().map_err(io::Error::other)?;
                body = Body::Sized(len);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                body = Body::Chunked;
                break;
            }
        }
        Ok(Some(Head {
            first,
            len: end + 4,
            body,
        }))
    }

    /// The path of a request, without its query.
    pub fn path(&self) -> &str {
        let target = self.first.split(' ').nth(1).unwrap_or_default();
        target.split('?').next().unwrap_or_default()
    }

    /// The length of the whole message at the beginning of `buf`; `None` while it is not whole.
    pub fn message_len(&self, buf: &[u8]) -> io::Result<Option<usize>> {
        match self.body {
            Body::Sized(len) => Ok((buf.len() >= self.len + len).then_some(self.len + len)),
            Body::Chunked => chunked_len(&buf[self.len..]).map(|len| len.map(|len| self.len + len)),
            Body::UntilClosed => Ok(None),
        }
    }
}

/// The length of a chunked body; `None` while it is not whole.
fn chunked_len(buf: &[u8]) -> io::Result<Option<usize>> {
    let mut at = 0;
    loop {
        let Some(line_len) = find(&buf[at..], b"\r\n") else {
            return Ok(None);
        };
        let digits = String::from_utf8_lossy(&buf[at..at + line_len]).into_owned();
        let digits = digits.split(';').next().unwrap_or_default().trim();
        let len = usize::from_str_radix(digits, 16).map_err(io::Error::other)?;
        // The last chunk is empty; a line ends the trailers, of which the gateway sends none.
        at += line_len + 2 + len + 2;
        if buf.len() < at {
            return Ok(None);
        }
        if len == 0 {
            return Ok(Some(at));
        }
    }
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
