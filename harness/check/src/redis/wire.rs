//! One connection through a tap: the client's commands one way, the server's words the other.
//!
//! A command or a reply is passed on once all of it is there, byte by byte as it came. Both directions run in one task.

mod replies;
mod requests;

use super::session::Session;
use super::shared::Shared;
use crate::tap::audible;
use bytes::BytesMut;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::watch;

/// How much is read at once.
const CHUNK_LEN: usize = 16 * 1024;

/// How much a client may send ahead of a command that is held.
const AHEAD_LEN_MAX: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    session: Mutex<Session>,
    open: Mutex<bool>,
    /// Set by a rule: nothing passes any more.
    silenced: watch::Sender<bool>,
}

/// How one direction came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The sender has closed, and everything it sent has been passed on.
    Closed,
    /// A rule breaks the connection, or one side can't be reached any more, or speaks something else.
    Cut,
}

/// Serves a client that has just connected, until both sides are closed.
pub(super) async fn serve(shared: Arc<Shared>, client: TcpStream, server: (String, u16)) {
    shared.note(|books| books.counts.attempts += 1);
    let mut cuts = shared.cuts.subscribe();
    if !shared.admits(&mut cuts).await {
        return;
    }
    // A server that can't be reached shows as a connection that is closed without an answer.
    converse(shared, client, server, cuts).await.ok();
}

async fn converse(
    shared: Arc<Shared>,
    client: TcpStream,
    (host, port): (String, u16),
    mut cuts: watch::Receiver<u64>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let server = TcpStream::connect((host.as_str(), port)).await?;
    server.set_nodelay(true)?;
    let connection = Connection::open(shared);
    let (mut client_reads, mut client_writes) = client.into_split();
    let (mut server_reads, mut server_writes) = server.into_split();
    {
        let mut requests = std::pin::pin!(requests::forward(
            &connection,
            &mut client_reads,
            &mut server_writes
        ));
        let mut replies = std::pin::pin!(replies::forward(
            &connection,
            &mut server_reads,
            &mut client_writes
        ));
        let mut client_closed = false;
        loop {
            tokio::select! {
                end = &mut requests, if !client_closed => match end {
                    End::Closed => client_closed = true,
                    End::Cut => break,
                },
                _ = &mut replies => break,
                _ = cuts.changed() => break,
            }
        }
    }
    drop(connection);
    drop((client_reads, client_writes));
    // The server reads what was passed on and then the end; closing with replies unread would tell it earlier.
    server_writes.shutdown().await.ok();
    let mut rest = BytesMut::with_capacity(CHUNK_LEN);
    while matches!(server_reads.read_buf(&mut rest).await, Ok(n) if n > 0) {
        rest.clear();
    }
    Ok(())
}

/// Whether the sender has closed; a reset is a way of closing.
async fn read(from: &mut OwnedReadHalf, buf: &mut BytesMut) -> bool {
    buf.reserve(CHUNK_LEN);
    from.read_buf(buf).await.unwrap_or(0) == 0
}

impl Connection {
    fn open(shared: Arc<Shared>) -> Connection {
        let number = shared.note(|books| {
            books.to_server += 1;
            books.counts.connection_opened();
            books.counts.connections_total
        });
        Connection {
            session: Mutex::new(Session::new(number)),
            open: Mutex::new(true),
            silenced: watch::Sender::new(false),
            shared,
        }
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client has closed the connection, or it was cut. May be told more than once.
    fn closed(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *open, false) {
            self.shared.note(|books| books.counts.connections_open -= 1);
        }
    }

    /// Waits until something may pass on this connection: for ever once a rule has silenced it.
    async fn audible(&self) {
        if *self.silenced.borrow() {
            std::future::pending::<()>().await;
        }
        if self.shared.link.borrow().silent > 0 {
            audible(&mut self.shared.link.subscribe()).await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.closed();
        self.shared.note(|books| self.session().end(&mut books.counts));
    }
}
