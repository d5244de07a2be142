//! From the client to the server.

use super::super::session::{Pending, STARTUP, Session};
use super::{AHEAD_LEN_MAX, CHUNK_LEN, Connection, End, Then};
use crate::tap::{Decision, Fate, Hold, Pass};
use bytes::{Buf, BytesMut};
use pgwire::frame::{self, FrameError, HEADER_LEN, Header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// What is between reading and writing.
struct Scan<'c> {
    connection: &'c Connection,
    /// Bytes of a message that passes, still to come or to be written.
    passing: usize,
    /// The message at the front of what has not passed, once it has been counted.
    current: Option<(Pending, usize)>,
    cut_after: bool,
}

/// Passes on what the client sends until it closes. While something is held, reading goes on, so that a client that
/// hangs up is seen; what it sent before is not lost by that.
pub(super) async fn forward(
    connection: &Connection,
    mut buf: BytesMut,
    client: &mut OwnedReadHalf,
    server: &mut OwnedWriteHalf,
) -> End {
    let mut scan = Scan::new(connection, &buf);
    let mut begun = false;
    let mut reader = Reader {
        connection,
        client,
        closed: false,
    };
    loop {
        let (pass, then) = match scan.step(&buf) {
            Ok(step) => step,
            Err(_) => return End::Cut,
        };
        if pass > 0 {
            if connection.shared.link.borrow().silent > 0 {
                reader.meanwhile(&mut buf, connection.audible()).await;
            }
            if !std::mem::replace(&mut begun, true) {
                connection.shared.note(|books| books.sessions_begun += 1);
            }
            if server.write_all(&buf[..pass]).await.is_err() {
                return End::Cut;
            }
            buf.advance(pass);
        }
        match then {
            Then::Read if reader.closed => {
                // A direct connection would tell the server at once as well.
                server.shutdown().await.ok();
                return End::Closed;
            }
            Then::Read => reader.read(&mut buf).await,
            Then::Wait(by) => {
                let _held = connection.hold();
                if reader.meanwhile(&mut buf, by.over()).await == Fate::Lose {
                    return End::Cut;
                }
            }
            Then::Cut => return End::Cut,
            Then::Silence => {
                connection.silenced.send_replace(true);
                while !reader.closed {
                    buf.clear();
                    reader.read(&mut buf).await;
                }
                return End::Cut;
            }
        }
    }
}

impl<'c> Scan<'c> {
    /// `buf` starts with the startup packet, which the session already expects an answer to.
    fn new(connection: &'c Connection, buf: &BytesMut) -> Scan<'c> {
        let len = pgwire::Opening::decode(buf)
            .ok()
            .flatten()
            .map_or(0, |(_, len)| len);
        Scan {
            connection,
            passing: 0,
            current: Some((STARTUP, len)),
            cut_after: false,
        }
    }

    /// Counts what has arrived, and says how many bytes may pass and what follows them.
    fn step(&mut self, buf: &[u8]) -> Result<(usize, Then<Hold>), FrameError> {
        let mut at = 0;
        loop {
            let n = self.passing.min(buf.len() - at);
            (at, self.passing) = (at + n, self.passing - n);
            if self.passing > 0 {
                return Ok((at, Then::Read));
            }
            if self.cut_after {
                return Ok((at, Then::Cut));
            }
            let (message, len) = match &mut self.current {
                Some(current) => current,
                current => match Self::arrived(self.connection, &buf[at..])? {
                    Some(message) => current.insert(message),
                    None => return Ok((at, Then::Read)),
                },
            };
            let request = self.connection.request(message);
            match self.connection.shared.rules.request(&request, message.asked) {
                Decision::Settled(pass @ (Pass::On | Pass::OnAndCut)) => {
                    self.passing = *len;
                    self.cut_after = pass == Pass::OnAndCut;
                    self.current = None;
                }
                Decision::Settled(Pass::Cut) => return Ok((at, Then::Cut)),
                Decision::Settled(Pass::Silence) => return Ok((at, Then::Silence)),
                Decision::Held { rule, by } => {
                    message.asked = rule;
                    return Ok((at, Then::Wait(by)));
                }
            }
        }
    }

    /// Counts the message at the start of `buf`, if enough of it is there.
    fn arrived(connection: &Connection, buf: &[u8]) -> Result<Option<(Pending, usize)>, FrameError> {
        let Some(Header { tag, len }) = frame::header(buf)? else {
            return Ok(None);
        };
        let body = &buf[HEADER_LEN..len.min(buf.len())];
        let complete = buf.len() >= len;
        // The names in a Bind stand before its values, which may be large.
        if Session::request_needs_body(tag) && !complete && tag != b'B' {
            return Ok(None);
        }
        let mut session = connection.session();
        let counted = connection.shared.note(|books| session.request(tag, body, books));
        match counted {
            Ok(pending) => Ok(Some((pending, len))),
            Err(FrameError::Truncated(_)) if !complete => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Reads from the client, and notes when it has hung up.
struct Reader<'c> {
    connection: &'c Connection,
    client: &'c mut OwnedReadHalf,
    closed: bool,
}

impl Reader<'_> {
    async fn read(&mut self, buf: &mut BytesMut) {
        buf.reserve(CHUNK_LEN);
        // A reset is a way of hanging up.
        if self.client.read_buf(buf).await.unwrap_or(0) == 0 {
            self.closed = true;
            self.connection.client_closed();
        }
    }

    /// Waits for `event`, reading ahead.
    async fn meanwhile<T>(&mut self, buf: &mut BytesMut, event: impl Future<Output = T>) -> T {
        let mut event = std::pin::pin!(event);
        loop {
            tokio::select! {
                biased;
                happened = &mut event => return happened,
                () = self.read(buf), if !self.closed && buf.len() < AHEAD_LEN_MAX => {}
            }
        }
    }
}
