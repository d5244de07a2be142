//! What ZooKeeper's clients and servers say: frames with their length in front, numbers in network order.

use bytes::{Buf, Bytes, BytesMut};
use std::io;

/// The largest frame that a server takes, by its own default, is a megabyte.
const LEN_MAX: usize = 8 << 20;

/// The number of a session, and what proves that it is one's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    pub id: i64,
    pub password: Bytes,
}

/// The first whole frame in `buf`, its length included.
pub(super) fn take(buf: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let Some(head) = buf.first_chunk::<4>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes(*head) as usize;
    if len > LEN_MAX {
        return Err(io::Error::other("no frame of ZooKeeper's"));
    }
    Ok((buf.len() >= 4 + len).then(|| buf.split_to(4 + len).freeze()))
}

/// A request's number, what it asks for, and the first path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub xid: i32,
    pub op: i32,
    pub path: String,
}

impl Asked {
    /// Reads a client's frame behind the first one.
    pub fn read(frame: &[u8]) -> Option<Asked> {
        let mut rest = frame.get(4..)?;
        let (xid, op) = (rest.try_get_i32().ok()?, rest.try_get_i32().ok()?);
        // Each part of a transaction has a head of its own.
        if matches!(op, MULTI | MULTI_READ) {
            rest = rest.get(9..).unwrap_or_default();
        }
        Some(Asked {
            xid,
            op,
            path: text(rest).unwrap_or_default(),
        })
    }

    pub fn name(&self) -> &'static str {
        name(self.op)
    }

    /// Whether it asks for something, and is not about the connection or the session.
    pub fn is_question(&self) -> bool {
        !matches!(
            self.op,
            PING | CLOSE_SESSION | AUTH | SASL | SET_WATCHES | SET_WATCHES_2
        )
    }
}

fn text(mut rest: &[u8]) -> Option<String> {
    let len = usize::try_from(rest.try_get_i32().ok()?).ok()?;
    let path = rest.get(..len)?;
    path.starts_with(b"/")
        .then(|| String::from_utf8_lossy(path).into_owned())
}

/// The number of the request that a server's frame answers; below zero it answers none, or one about the connection.
pub(super) fn answered(frame: &[u8]) -> Option<i32> {
    frame.get(4..)?.try_get_i32().ok()
}

/// The session in a server's first frame; `None` when it is over.
pub(super) fn session(frame: &[u8]) -> Option<Session> {
    let mut rest = frame.get(4..)?;
    let (_version, _timeout) = (rest.try_get_i32().ok()?, rest.try_get_i32().ok()?);
    let id = rest.try_get_i64().ok()?;
    let len = usize::try_from(rest.try_get_i32().ok()?).ok()?;
    let password = Bytes::copy_from_slice(rest.get(..len)?);
    (id != 0).then_some(Session { id, password })
}

/// What a client says first, to have its session back.
pub(super) fn connecting(session: &Session) -> Vec<u8> {
    let mut said = Vec::new();
    said.extend(0_i32.to_be_bytes());
    said.extend(0_i64.to_be_bytes());
    said.extend(10_000_i32.to_be_bytes());
    said.extend(session.id.to_be_bytes());
    said.extend((session.password.len() as i32).to_be_bytes());
    said.extend(&session.password);
    said.push(0);
    framed(&said)
}

/// What a client says last.
pub(super) fn closing() -> Vec<u8> {
    framed(&[1_i32.to_be_bytes(), CLOSE_SESSION.to_be_bytes()].concat())
}

fn framed(said: &[u8]) -> Vec<u8> {
    [&(said.len() as u32).to_be_bytes(), said].concat()
}

const PING: i32 = 11;
const MULTI: i32 = 14;
const MULTI_READ: i32 = 22;
const AUTH: i32 = 100;
const SET_WATCHES: i32 = 101;
const SASL: i32 = 102;
const SET_WATCHES_2: i32 = 105;
const CLOSE_SESSION: i32 = -11;

fn name(op: i32) -> &'static str {
    match op {
        1 => "create",
        2 => "delete",
        3 => "exists",
        4 => "getData",
        5 => "setData",
        6 => "getACL",
        7 => "setACL",
        8 => "getChildren",
        9 => "sync",
        PING => "ping",
        12 => "getChildren2",
        13 => "check",
        MULTI => "multi",
        15 => "create2",
        18 => "removeWatches",
        19 => "createContainer",
        21 => "createTTL",
        MULTI_READ => "multiRead",
        AUTH => "auth",
        SET_WATCHES | SET_WATCHES_2 => "setWatches",
        SASL => "sasl",
        103 => "getEphemerals",
        106 => "addWatch",
        CLOSE_SESSION => "closeSession",
        _ => "request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(xid: i32, op: i32, rest: &[u8]) -> Vec<u8> {
        framed(&[&xid.to_be_bytes(), &op.to_be_bytes(), rest].concat())
    }

    fn path(path: &str) -> Vec<u8> {
        [&(path.len() as i32).to_be_bytes(), path.as_bytes()].concat()
    }

    #[test]
    fn frames_are_taken_one_by_one_and_only_when_whole() {
        let whole = [request(1, 3, &path("/a")), closing()].concat();
        let mut buf = BytesMut::from(&whole[..whole.len() - 1]);
        assert_eq!(take(&mut buf).unwrap().unwrap(), request(1, 3, &path("/a")));
        assert_eq!(take(&mut buf).unwrap(), None);
        buf.extend_from_slice(&whole[whole.len() - 1..]);
        assert_eq!(take(&mut buf).unwrap().unwrap(), closing());
        assert_eq!(take(&mut buf).unwrap(), None);
        assert!(take(&mut BytesMut::from(&b"GET / HTTP/1.1"[..])).is_err());
    }

    #[test]
    fn requests_are_told_apart() {
        let asked = Asked::read(&request(7, 15, &path("/day/lock-"))).unwrap();
        assert_eq!(
            (asked.xid, asked.name(), asked.path.as_str()),
            (7, "create2", "/day/lock-")
        );
        assert!(asked.is_question());
        let part = [
            &13_i32.to_be_bytes()[..],
            &[0],
            &(-1_i32).to_be_bytes(),
            &path("/day"),
        ]
        .concat();
        let asked = Asked::read(&request(8, MULTI, &part)).unwrap();
        assert_eq!((asked.name(), asked.path.as_str()), ("multi", "/day"));
        for quiet in [PING, CLOSE_SESSION, SET_WATCHES] {
            assert!(!Asked::read(&request(-2, quiet, &[])).unwrap().is_question());
        }
        assert_eq!(Asked::read(&[0, 0, 0, 2, 1, 1]), None);
    }

    #[test]
    fn a_session_is_read_and_taken_up_again() {
        let ours = Session {
            id: 0x1234,
            password: Bytes::from_static(b"sixteen bytes pw"),
        };
        let said = [
            &0_i32.to_be_bytes()[..],
            &2000_i32.to_be_bytes(),
            &ours.id.to_be_bytes(),
            &16_i32.to_be_bytes(),
            &ours.password,
            &[0],
        ];
        assert_eq!(session(&framed(&said.concat())), Some(ours.clone()));
        let connecting = connecting(&ours);
        assert_eq!(connecting.len(), 4 + 45);
        assert_eq!(connecting[20..28], ours.id.to_be_bytes());
        let over = [&[0; 16][..], &16_i32.to_be_bytes(), &[0; 17]].concat();
        assert_eq!(session(&framed(&over)), None);
    }
}
