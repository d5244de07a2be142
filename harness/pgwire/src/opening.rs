//! The untagged packets that open a connection.
//!
//! Source: the server's `ProcessStartupPacket` (`src/backend/postmaster/postmaster.c`), whose limit is kept here.

use crate::frame::{Fields, FrameError};
use bytes::BytesMut;

/// The server's `MAX_STARTUP_PACKET_LENGTH`.
pub const OPENING_LEN_MAX: usize = 10_000;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// What a client says first. TLS and GSS requests are answered with one byte, after which another packet follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    Tls,
    Gss,
    /// "Stop what the session with this process id is doing." Nothing follows, and nothing is answered.
    Cancel {
        pid: i32,
        key: i32,
    },
    Startup {
        /// Major version in the upper half.
        version: u32,
        parameters: Vec<(String, String)>,
    },
}

impl Opening {
    /// Reads the packet at the start of `buf` without taking it; the second value is its size in bytes. `None` until
    /// all of it is there.
    pub fn decode(buf: &[u8]) -> Result<Option<(Opening, usize)>, FrameError> {
        let Some(length) = buf.get(..4) else {
            return Ok(None);
        };
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        let len = match usize::try_from(length) {
            Ok(len) if (8..=OPENING_LEN_MAX).contains(&len) => len,
            _ => return Err(FrameError::Length(i64::from(length))),
        };
        let Some(packet) = buf.get(4..len) else {
            return Ok(None);
        };
        let mut fields = Fields(packet);
        let code = fields.i32("version")?.cast_unsigned();
        let opening = match code {
            SSL => Opening::Tls,
            GSS => Opening::Gss,
            CANCEL => Opening::Cancel {
                pid: fields.i32("process id")?,
                key: fields.i32("secret key")?,
            },
            version if version >> 16 == 3 => Opening::Startup {
                version,
                parameters: parameters(&mut fields)?,
            },
            version => return Err(FrameError::Version(version)),
        };
        Ok(Some((opening, len)))
    }

    /// Takes the packet off `buf`; `None` until all of it is there.
    pub fn take(buf: &mut BytesMut) -> Result<Option<Opening>, FrameError> {
        let Some((opening, len)) = Opening::decode(buf)? else {
            return Ok(None);
        };
        let _ = buf.split_to(len);
        Ok(Some(opening))
    }
}

fn parameters(fields: &mut Fields<'_>) -> Result<Vec<(String, String)>, FrameError> {
    let mut all = Vec::new();
    loop {
        let name = fields.cstr("parameter name")?;
        if name.is_empty() {
            return Ok(all);
        }
        let value = fields.cstr("parameter value")?;
        all.push((
            String::from_utf8_lossy(name).into_owned(),
            String::from_utf8_lossy(value).into_owned(),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::nothing(b"", Ok(None))]
    #[case::half(b"\0\0\0\x08\x04\xd2", Ok(None))]
    #[case::tls(b"\0\0\0\x08\x04\xd2\x16\x2f", Ok(Some((Opening::Tls, 8))))]
    #[case::gss(b"\0\0\0\x08\x04\xd2\x16\x30", Ok(Some((Opening::Gss, 8))))]
    #[case::cancel(
        b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07\0\0\x01\0",
        Ok(Some((Opening::Cancel { pid: 7, key: 256 }, 16)))
    )]
    #[case::cancel_without_key(
        b"\0\0\0\x0c\x04\xd2\x16\x2e\0\0\0\x07",
        Err(FrameError::Truncated("secret key"))
    )]
    #[case::version_2(b"\0\0\0\x08\0\x02\0\0", Err(FrameError::Version(0x2_0000)))]
    #[case::too_short(b"\0\0\0\x04", Err(FrameError::Length(4)))]
    #[case::too_long(b"\0\0\x27\x11\0\x03\0\0", Err(FrameError::Length(10_001)))]
    #[case::http(b"GET / HTTP/1.1", Err(FrameError::Length(0x4745_5420)))]
    #[case::unterminated(b"\0\0\0\x0d\0\x03\0\0user\0", Err(FrameError::Truncated("parameter value")))]
    fn openings(#[case] bytes: &[u8], #[case] expected: Result<Option<(Opening, usize)>, FrameError>) {
        assert_eq!(Opening::decode(bytes), expected);
    }

    #[test]
    fn a_startup_packet_is_taken_and_what_follows_is_left() {
        let mut buf = BytesMut::from(&b"\0\0\0\x19\0\x03\0\0user\0app\0db\0x\0\0\0\0p"[..]);
        buf[3] = 8 + 5 + 4 + 3 + 2 + 1;
        let opening = Opening::take(&mut buf);
        assert_eq!(
            opening,
            Ok(Some(Opening::Startup {
                version: 0x3_0000,
                parameters: vec![("user".into(), "app".into()), ("db".into(), "x".into())],
            }))
        );
        assert_eq!(&buf[..], b"\0\0p");
    }
}
