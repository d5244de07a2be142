//! HTTP/1.1 as far as DynamoDB's clients and servers use it: a head, and a body of known length or in chunks.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Larger than what the API allows.
const MESSAGE_LEN_MAX: usize = 64 * 1024 * 1024;

/// A request or an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// The first line and the fields, without the empty line.
    pub head: String,
    pub body: Bytes,
}

impl Message {
    /// A field's value; names know no case.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// Of an answer.
    pub fn status(&self) -> u16 {
        let status = self.head.split(' ').nth(1);
        status.and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The same with another body, its length told, and no checksum of the old one.
    pub fn with_body(&self, body: Bytes) -> Message {
        let replaced = ["content-length", "transfer-encoding", "x-amz-crc32"];
        let mut head: Vec<String> = self
            .head
            .lines()
            .filter(|line| {
                let name = line.split(':').next().unwrap_or_default();
                !replaced.iter().any(|known| name.eq_ignore_ascii_case(known))
            })
            .map(str::to_owned)
            .collect();
        head.push(format!("content-length: {}", body.len()));
        Message {
            head: head.join("\r\n"),
            body,
        }
    }

    pub fn answer(status: u16, body: Bytes) -> Message {
        let reason = match status {
            200 => "OK",
            400 => "Bad Request",
            _ => "Internal Server Error",
        };
        let head = format!("HTTP/1.1 {status} {reason}\r\ncontent-type: application/x-amz-json-1.0");
        Message { head, body }.with_body_of_its_own()
    }

    fn with_body_of_its_own(self) -> Message {
        let body = self.body.clone();
        self.with_body(body)
    }

    /// As it goes over the wire; the body in one piece.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.head.len() + self.body.len() + 4);
        bytes.extend_from_slice(self.head.as_bytes());
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(&self.body);
        bytes.freeze()
    }
}

/// The next message; `None` when the sender has closed between two. `buf` keeps what came with it of the next one.
pub(super) async fn read(
    from: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
) -> io::Result<Option<Message>> {
    let head = loop {
        if let Some(end) = buf.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = buf.split_to(end + 4);
            break String::from_utf8_lossy(&head[..end]).into_owned();
        }
        if more(from, buf).await? == 0 {
            return match buf.is_empty() {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
    };
    let chunked = field(&head, "transfer-encoding").is_some_and(|coding| coding.contains("chunked"));
    if chunked {
        let body = chunks(from, buf).await?;
        return Ok(Some(Message { head, body }.with_body_of_its_own()));
    }
    let len = match field(&head, "content-length") {
        Some(len) => len.trim().parse().map_err(|_| invalid("a length that is none"))?,
        None => 0,
    };
    let body = take(from, buf, len).await?;
    Ok(Some(Message { head, body }))
}

async fn chunks(from: &mut (impl AsyncRead + Unpin), buf: &mut BytesMut) -> io::Result<Bytes> {
    let mut body = BytesMut::new();
    loop {
        let line = loop {
            if let Some(end) = buf.windows(2).position(|window| window == b"\r\n") {
                break buf.split_to(end + 2);
            }
            if more(from, buf).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let digits = String::from_utf8_lossy(&line);
        let digits = digits.trim().split(';').next().unwrap_or_default().to_owned();
        let len = usize::from_str_radix(&digits, 16).map_err(|_| invalid("a chunk without a length"))?;
        let chunk = take(from, buf, len + 2).await?;
        if len == 0 {
            return Ok(body.freeze());
        }
        body.extend_from_slice(&chunk[..len]);
        if body.len() > MESSAGE_LEN_MAX {
            return Err(invalid("a message without end"));
        }
    }
}

async fn take(from: &mut (impl AsyncRead + Unpin), buf: &mut BytesMut, len: usize) -> io::Result<Bytes> {
    if len > MESSAGE_LEN_MAX {
        return Err(invalid("a message without end"));
    }
    while buf.len() < len {
        if more(from, buf).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buf.split_to(len).freeze())
}

async fn more(from: &mut (impl AsyncRead + Unpin), buf: &mut BytesMut) -> io::Result<usize> {
    if buf.len() > MESSAGE_LEN_MAX {
        return Err(invalid("a message without end"));
    }
    buf.reserve(16 * 1024);
    from.read_buf(buf).await
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut wire: &[u8]) -> io::Result<Vec<Message>> {
        let (mut buf, mut messages) = (BytesMut::new(), Vec::new());
        while let Some(message) = read(&mut wire, &mut buf).await? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[tokio::test]
    async fn messages_that_follow_each_other_are_told_apart() {
        let wire =
            "POST / HTTP/1.1\r\nX-Amz-Target: A.Put\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\n\r\n";
        let messages = all(wire.as_bytes()).await.unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].field("x-amz-target"), Some("A.Put"));
        assert_eq!(&messages[0].body[..], b"{}");
        assert!(messages[1].body.is_empty());
        let again: Vec<u8> = messages
            .iter()
            .flat_map(|message| message.to_bytes().to_vec())
            .collect();
        assert_eq!(String::from_utf8_lossy(&again), wire);
    }

    #[tokio::test]
    async fn chunks_are_put_together() {
        let wire =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let messages = all(wire.as_bytes()).await.unwrap();
        assert_eq!(messages[0].status(), 200);
        assert_eq!(&messages[0].body[..], b"abcde");
        assert_eq!(messages[0].field("content-length"), Some("5"));
        assert_eq!(messages[0].field("transfer-encoding"), None);
    }

    #[tokio::test]
    async fn what_breaks_off_or_is_no_http_is_an_error() {
        for wire in [
            "POST / HTTP/1.1\r\nContent-Le",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab",
            "POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert!(all(wire.as_bytes()).await.is_err(), "{wire}");
        }
        assert!(all(b"").await.unwrap().is_empty());
    }

    #[test]
    fn another_body_has_its_own_length_and_no_old_checksum() {
        let message = Message {
            head: "HTTP/1.1 200 OK\r\nx-amz-crc32: 17\r\nContent-Length: 9".to_owned(),
            body: Bytes::new(),
        };
        let message = message.with_body(Bytes::from_static(b"{}"));
        assert_eq!(message.head, "HTTP/1.1 200 OK\r\ncontent-length: 2");
        assert_eq!(Message::answer(400, Bytes::new()).status(), 400);
    }
}
