//! Whole messages, as far as DynamoDB's clients and servers send them: a head, and a body of known length or in chunks.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::tap::http::{Body, Head, field};

/// How much is read at once.
const CHUNK_LEN: usize = 16 * 1024;

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
    loop {
        if let Some(head) = Head::parse(buf)?
            && let Some(len) = head.message_len(buf)?
        {
            let body = head.body_of(buf.split_to(len).freeze())?;
            let chunked = head.body == Body::Chunked;
            let message = Message {
                head: head.text,
                body,
            };
            return Ok(Some(match chunked {
                true => message.with_body_of_its_own(),
                false => message,
            }));
        }
        buf.reserve(CHUNK_LEN);
        if from.read_buf(buf).await? == 0 {
            return match buf.is_empty() {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
    }
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
