//! Where one message ends and the next begins.
//!
//! After the opening packet every message, in both directions, is a tag byte, a length that counts itself but not the
//! tag, and a body. [`header`] reads just the first five bytes, so a proxy may pass bodies on without collecting them.

use bytes::{Buf, Bytes, BytesMut};
use std::fmt;

/// The server's own limit for one message (`MaxAllocSize - 1`): what exceeds it is garbage or another protocol.
pub const FRAME_LEN_MAX: usize = 0x3fff_fffe;

/// The bytes of a tag and a length.
pub const HEADER_LEN: usize = 5;

/// The tag and the size of a message whose body may not have arrived yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub tag: u8,
    /// Bytes of the whole message, tag and length included.
    pub len: usize,
}

/// One complete message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub tag: u8,
    pub body: Bytes,
}

/// Bytes that are no PostgreSQL message. The stream can't be followed any further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameError {
    /// No message has such a tag.
    Tag(u8),
    /// A length below the four bytes of the length itself, or above what the server would take.
    Length(i64),
    /// An opening packet with a version that nobody speaks.
    Version(u32),
    /// A body that ends before its fields do.
    Truncated(&'static str),
}

/// Reads the header at the start of `buf`; `None` when fewer than five bytes are there.
pub fn header(buf: &[u8]) -> Result<Option<Header>, FrameError> {
    let Some(&tag) = buf.first() else { return Ok(None) };
    // Every tag ever assigned is a letter or a digit; anything else means that we lost the thread.
    if !tag.is_ascii_alphanumeric() {
        return Err(FrameError::Tag(tag));
    }
    let Some(length) = buf.get(1..HEADER_LEN) else {
        return Ok(None);
    };
    let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
    match usize::try_from(length) {
        Ok(len) if (4..=FRAME_LEN_MAX).contains(&len) => Ok(Some(Header { tag, len: len + 1 })),
        _ => Err(FrameError::Length(i64::from(length))),
    }
}

/// Takes the next complete message off `buf`; `None` until all of it is there. The body is shared, not copied.
pub fn next(buf: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    match header(buf)? {
        Some(Header { tag, len }) if buf.len() >= len => {
            let mut frame = buf.split_to(len).freeze();
            frame.advance(HEADER_LEN);
            Ok(Some(Frame { tag, body: frame }))
        }
        _ => Ok(None),
    }
}

/// Takes fields off the front of a body.
pub(crate) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn cstr(&mut self, what: &'static str) -> Result<&'a [u8], FrameError> {
        let end = self
            .0
            .iter()
            .position(|&b| b == 0)
            .ok_or(FrameError::Truncated(what))?;
        let (text, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Ok(text)
    }

    pub fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], FrameError> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(FrameError::Truncated(what))?;
        self.0 = rest;
        Ok(head)
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, FrameError> {
        Ok(self.take(1, what)?[0])
    }

    pub fn i16(&mut self, what: &'static str) -> Result<i16, FrameError> {
        let b = self.take(2, what)?;
        Ok(i16::from_be_bytes([b[0], b[1]]))
    }

    pub fn i32(&mut self, what: &'static str) -> Result<i32, FrameError> {
        let b = self.take(4, what)?;
        Ok(i32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Tag(tag) => write!(f, "no PostgreSQL message has tag 0x{tag:02x}"),
            FrameError::Length(length) => write!(f, "no PostgreSQL message has length {length}"),
            FrameError::Version(version) => write!(f, "unknown protocol version 0x{version:08x}"),
            FrameError::Truncated(what) => write!(f, "the message ends inside its {what}"),
        }
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::nothing(b"", Ok(None))]
    #[case::tag_only(b"Q", Ok(None))]
    #[case::short_length(b"Q\0\0\0", Ok(None))]
    #[case::sync(b"S\0\0\0\x04", Ok(Some(Header { tag: b'S', len: 5 })))]
    #[case::body_to_come(b"D\0\x01\0\0", Ok(Some(Header { tag: b'D', len: 65537 })))]
    #[case::length_below_itself(b"Q\0\0\0\x03", Err(FrameError::Length(3)))]
    #[case::length_zero(b"Q\0\0\0\0", Err(FrameError::Length(0)))]
    #[case::length_negative(b"Q\xff\xff\xff\xff", Err(FrameError::Length(-1)))]
    #[case::length_oversized(b"Q\x7f\xff\xff\xff", Err(FrameError::Length(0x7fff_ffff)))]
    #[case::tls_hello(b"\x16\x03\x01\x02\x00", Err(FrameError::Tag(0x16)))]
    #[case::http(b"GET / HTTP/1.1\r\n", Err(FrameError::Length(0x4554_202f)))]
    fn headers(#[case] bytes: &[u8], #[case] expected: Result<Option<Header>, FrameError>) {
        assert_eq!(header(bytes), expected);
    }

    #[test]
    fn a_stream_is_split_the_same_however_it_arrives() {
        let stream = b"1\0\0\0\x042\0\0\0\x04C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";
        let mut whole = BytesMut::from(&stream[..]);
        let mut expected = Vec::new();
        while let Ok(Some(frame)) = next(&mut whole) {
            expected.push(frame);
        }
        assert_eq!(expected.iter().map(|f| f.tag).collect::<Vec<_>>(), b"12CZ");
        assert_eq!(&expected[2].body[..], b"SELECT 1\0");

        let (mut buf, mut seen) = (BytesMut::new(), Vec::new());
        for &byte in stream {
            buf.extend_from_slice(&[byte]);
            seen.extend(next(&mut buf).unwrap());
        }
        assert_eq!(seen, expected);
        assert!(buf.is_empty());
    }
}
