//! From the client to the server.

use super::super::resp;
use super::super::session::Pending;
use super::{AHEAD_LEN_MAX, Connection, End, read};
use crate::tap::{Decision, Fate, Pass};
use bytes::{Buf, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Passes on what the client sends until it closes. While something is held, reading goes on, so that a client that
/// hangs up is seen; what it sent before is not lost by that.
pub(super) async fn forward(
    connection: &Connection,
    client: &mut OwnedReadHalf,
    server: &mut OwnedWriteHalf,
) -> End {
    let mut reader = Reader {
        connection,
        client,
        closed: false,
        buf: BytesMut::new(),
    };
    loop {
        let (args, len) = match resp::command(&reader.buf) {
            Ok(Some(command)) => command,
            Ok(None) if reader.closed => {
                // A direct connection would tell the server at once as well.
                server.shutdown().await.ok();
                return End::Closed;
            }
            Ok(None) => {
                reader.read().await;
                continue;
            }
            Err(_) => return End::Cut,
        };
        let arrived = connection.shared.note(|books| {
            let arrived = connection.session().arrived(args, &mut books.counts);
            books
                .log
                .extend(arrived.iter().map(|arrived| arrived.command.clone()));
            arrived
        });
        let pass = match arrived {
            Some(mut arrived) => {
                let mut uncounted = Uncounted {
                    connection,
                    sent: false,
                };
                let pass = ask(&mut reader, &mut arrived).await;
                if matches!(pass, Pass::On | Pass::OnAndCut) {
                    reader.meanwhile(connection.audible()).await;
                    // Before it is written: its reply may be here sooner than this task goes on.
                    connection
                        .shared
                        .note(|books| connection.session().sent(&arrived, &mut books.counts));
                    uncounted.sent = true;
                }
                pass
            }
            None => Pass::On,
        };
        match pass {
            Pass::Cut => return End::Cut,
            Pass::Silence => {
                connection.silenced.send_replace(true);
                while !reader.closed {
                    reader.buf.clear();
                    reader.read().await;
                }
                return End::Cut;
            }
            Pass::On | Pass::OnAndCut => {
                if server.write_all(&reader.buf[..len]).await.is_err() {
                    return End::Cut;
                }
                reader.buf.advance(len);
                if matches!(pass, Pass::OnAndCut) {
                    return End::Cut;
                }
            }
        }
    }
}

/// Asks the rules about a command, and waits where they say so.
async fn ask(reader: &mut Reader<'_>, arrived: &mut Pending) -> Pass {
    loop {
        let rules = &reader.connection.shared.rules;
        match rules.request(&arrived.request(), arrived.asked) {
            Decision::Settled(pass) => return pass,
            Decision::Held { rule, by } => {
                arrived.asked = rule;
                if reader.meanwhile(by.over()).await == Fate::Lose {
                    return Pass::Cut;
                }
            }
        }
    }
}

/// A command that has arrived and may never be sent.
struct Uncounted<'c> {
    connection: &'c Connection,
    sent: bool,
}

impl Drop for Uncounted<'_> {
    fn drop(&mut self) {
        if !self.sent {
            self.connection.shared.note(|books| books.counts.in_flight -= 1);
        }
    }
}

/// Reads from the client, and notes when it has hung up.
struct Reader<'c> {
    connection: &'c Connection,
    client: &'c mut OwnedReadHalf,
    closed: bool,
    buf: BytesMut,
}

impl Reader<'_> {
    async fn read(&mut self) {
        if read(self.client, &mut self.buf).await {
            self.closed = true;
            self.connection.closed();
        }
    }

    /// Waits for `event`, reading ahead.
    async fn meanwhile<T>(&mut self, event: impl Future<Output = T>) -> T {
        let mut event = std::pin::pin!(event);
        loop {
            tokio::select! {
                biased;
                happened = &mut event => return happened,
                () = self.read(), if !self.closed && self.buf.len() < AHEAD_LEN_MAX => {}
            }
        }
    }
}
