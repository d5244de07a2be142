//! From the server to the client.

use super::super::session::Session;
use super::{CHUNK_LEN, Connection, End, Then};
use crate::tap::{Decision, Fate, Hold, Pass};
use bytes::{Buf, BytesMut};
use pgwire::frame::{self, FrameError, HEADER_LEN, Header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// What an answer waits for.
#[derive(Debug)]
enum Wait {
    /// But for a delay, until all of it is there, and only then for this.
    Held(Hold),
    /// Until all of it is there, and then it is lost.
    Lost,
}

struct Scan<'c> {
    connection: &'c Connection,
    /// Bytes of a message that passes, still to come or to be written.
    passing: usize,
    /// Break the connection once the round trip's answers have passed.
    cut_after: bool,
}

/// Passes on what the server sends until it closes.
pub(super) async fn forward(
    connection: &Connection,
    server: &mut OwnedReadHalf,
    client: &mut OwnedWriteHalf,
) -> End {
    let mut scan = Scan {
        connection,
        passing: 0,
        cut_after: false,
    };
    let mut buf = BytesMut::new();
    let mut closed = false;
    loop {
        let (pass, then) = match scan.step(&buf) {
            Ok(step) => step,
            Err(_) => return End::Cut,
        };
        if pass > 0 {
            connection.audible().await;
            // A client that hung up is seen by the other direction; here its answers just have nowhere to go.
            if client.write_all(&buf[..pass]).await.is_err() {
                return End::Cut;
            }
            buf.advance(pass);
        }
        match then {
            Then::Read if closed => return End::Closed,
            Then::Read => closed = read(server, &mut buf).await,
            Then::Wait(Wait::Held(by)) => {
                if !matches!(by, Hold::Time(_)) {
                    whole(connection, server, &mut buf).await;
                }
                let _held = connection.hold();
                if by.over().await == Fate::Lose {
                    return End::Cut;
                }
            }
            Then::Wait(Wait::Lost) => {
                whole(connection, server, &mut buf).await;
                return End::Cut;
            }
            Then::Cut => return End::Cut,
            Then::Silence => {
                connection.silenced.send_replace(true);
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Whether the server has closed.
async fn read(server: &mut OwnedReadHalf, buf: &mut BytesMut) -> bool {
    buf.reserve(CHUNK_LEN);
    server.read_buf(buf).await.unwrap_or(0) == 0
}

/// Reads until the answers to the current round trip are all there: only then it is certain that the server has done
/// what it was asked to. Where no "ready" will follow, because the client has not asked for it, what is there counts.
async fn whole(connection: &Connection, server: &mut OwnedReadHalf, buf: &mut BytesMut) {
    let mut at = 0;
    while connection.session().ready_will_come() {
        while let Ok(Some(Header { tag, len })) = frame::header(&buf[at..]) {
            if buf.len() < at + len {
                break;
            }
            at += len;
            // After a request for data, or for a password, nothing comes until the client has sent it.
            if matches!(tag, b'Z' | b'G' | b'W' | b'R') {
                return;
            }
        }
        if read(server, buf).await {
            return;
        }
    }
}

impl Scan<'_> {
    /// Accounts for what has arrived, and says how many bytes may pass and what follows them.
    fn step(&mut self, buf: &[u8]) -> Result<(usize, Then<Wait>), FrameError> {
        let mut at = 0;
        let mut session = self.connection.session();
        loop {
            let n = self.passing.min(buf.len() - at);
            (at, self.passing) = (at + n, self.passing - n);
            if self.passing > 0 {
                return Ok((at, Then::Read));
            }
            let rest = &buf[at..];
            let Some(Header { tag, len }) = frame::header(rest)? else {
                return Ok((at, Then::Read));
            };
            if Session::reply_needs_body(tag) && rest.len() < len {
                return Ok((at, Then::Read));
            }
            if let Some(then) = self.ask(&mut session, tag) {
                return Ok((at, then));
            }
            self.passing = len;
            // Rows and copied data change nothing: no lock, nobody to tell.
            if matches!(tag, b'D' | b'd') {
                continue;
            }
            let body = &rest[HEADER_LEN..len.min(rest.len())];
            self.connection.shared.note(|books| {
                let known = session.pid;
                session.reply(tag, body, &mut books.counts)?;
                if session.pid != known {
                    books.pids.extend(session.pid);
                    books.sessions_established += 1;
                }
                Ok(())
            })?;
            if self.cut_after && tag == b'Z' {
                return Ok((at + len, Then::Cut));
            }
        }
    }

    /// Asks the rules about an answer, once, when the first of it arrives.
    fn ask(&mut self, session: &mut Session, tag: u8) -> Option<Then<Wait>> {
        let begins_trip = session.begins_trip();
        let pending = session
            .answering(tag)
            .filter(|pending| pending.asked < u64::MAX)?;
        let reply = self.connection.reply(pending, begins_trip);
        let (asked, then) = match self.connection.shared.rules.reply(&reply, pending.asked) {
            Decision::Settled(pass) => {
                self.cut_after |= pass == Pass::OnAndCut;
                let then = match pass {
                    Pass::On | Pass::OnAndCut => None,
                    Pass::Cut => Some(Then::Wait(Wait::Lost)),
                    Pass::Silence => Some(Then::Silence),
                };
                (u64::MAX, then)
            }
            Decision::Held { rule, by } => (rule, Some(Then::Wait(Wait::Held(by)))),
        };
        pending.asked = asked;
        then
    }
}
