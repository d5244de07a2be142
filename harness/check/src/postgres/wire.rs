//! One connection through a tap: the client's messages one way, the server's the other.
//!
//! Bytes are forwarded as they are, in the chunks in which they arrive, with one write per read; only headers, and the
//! bodies of the few messages that carry names, SQL or outcomes, are looked at. Both directions run in one task.

mod replies;
mod requests;

use super::rule::{Reply, Request};
use super::session::{Pending, Session};
use super::shared::Shared;
use crate::tap::{Link, audible};
use bytes::BytesMut;
use pgwire::Opening;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::watch;

/// How much is read at once.
const CHUNK_LEN: usize = 64 * 1024;

/// How much a client may send ahead of a message that is held.
const AHEAD_LEN_MAX: usize = 16 * 1024 * 1024;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    number: u64,
    session: Arc<Mutex<Session>>,
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

/// What follows the bytes that may pass now.
#[derive(Debug)]
enum Then<W> {
    /// More has to arrive.
    Read,
    /// The next message waits.
    Wait(W),
    Cut,
    Silence,
}

/// Serves a client that has just connected, until both sides are closed.
pub(super) async fn serve(shared: Arc<Shared>, mut client: TcpStream, server: (String, u16)) {
    shared.note(|books| books.counts.attempts += 1);
    let mut cuts = shared.cuts.subscribe();
    let mut link = shared.link.subscribe();
    if link.borrow().refused > 0 {
        return;
    }
    let opened = tokio::select! {
        opened = open(&shared, &mut client, &mut link) => opened,
        _ = cuts.changed() => return,
    };
    match opened {
        Ok(Some((Opening::Cancel { .. }, packet))) => {
            shared.note(|books| books.counts.cancels += 1);
            // Whether it succeeded is not told to the client either way: the answer is the end of the connection.
            cancel(&packet, server).await.ok();
        }
        Ok(Some((_, buf))) => {
            // A server that can't be reached shows as a connection that is closed without an answer.
            converse(shared, client, buf, server, cuts).await.ok();
        }
        _ => {}
    }
}

/// Reads the packet that says what the client wants. TLS is declined. Returns the packet's bytes with what follows.
async fn open(
    shared: &Shared,
    client: &mut TcpStream,
    link: &mut watch::Receiver<Link>,
) -> io::Result<Option<(Opening, BytesMut)>> {
    client.set_nodelay(true)?;
    let mut buf = BytesMut::with_capacity(1024);
    loop {
        match Opening::decode(&buf) {
            Ok(Some((Opening::Tls | Opening::Gss, len))) => {
                let _ = buf.split_to(len);
                audible(link).await;
                client.write_all(b"N").await?;
            }
            Ok(Some((opening, _))) => {
                if matches!(opening, Opening::Cancel { .. }) {
                    audible(link).await;
                }
                // A guard may have come in the meantime.
                return Ok((shared.link.borrow().refused == 0).then_some((opening, buf)));
            }
            Ok(None) => {
                if client.read_buf(&mut buf).await? == 0 {
                    return Ok(None);
                }
            }
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

async fn cancel(packet: &[u8], (host, port): (String, u16)) -> io::Result<()> {
    let mut server = TcpStream::connect((host.as_str(), port)).await?;
    server.write_all(packet).await?;
    // The server closes once it has sent the signal; the client takes our closing for that.
    server.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

async fn converse(
    shared: Arc<Shared>,
    client: TcpStream,
    buf: BytesMut,
    (host, port): (String, u16),
    mut cuts: watch::Receiver<u64>,
) -> io::Result<()> {
    let duplicate = client.as_fd().try_clone_to_owned()?;
    let number = shared.note(|books| books.connect(duplicate));
    let session = Arc::new(Mutex::new(Session::new(number)));
    shared.note(|books| books.sessions.insert(number, session.clone()));
    let connection = Connection {
        session,
        silenced: watch::Sender::new(false),
        shared,
        number,
    };
    let server = TcpStream::connect((host.as_str(), port)).await?;
    server.set_nodelay(true)?;
    let mut server_session = ServerSession::begin(connection.shared.clone());
    let (mut client_reads, mut client_writes) = client.into_split();
    let (mut server_reads, mut server_writes) = server.into_split();
    {
        let mut requests = std::pin::pin!(requests::forward(
            &connection,
            buf,
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
    // The client's side first, and all of it: the duplicate that the books hold would keep the socket open.
    drop(connection);
    drop((client_reads, client_writes));
    // The server reads what was passed on and then the end; closing with answers unread would tell it earlier.
    server_writes.shutdown().await.ok();
    drain(&mut server_reads).await;
    server_session.end();
    Ok(())
}

/// Reads until the other side closes.
async fn drain(from: &mut OwnedReadHalf) {
    let mut buf = BytesMut::with_capacity(4096);
    while matches!(from.read_buf(&mut buf).await, Ok(n) if n > 0) {
        buf.clear();
    }
}

impl Connection {
    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something of this connection waits at a gate for as long as the guard lives.
    fn hold(&self) -> Held<'_> {
        self.session().held += 1;
        Held(self)
    }

    fn client_closed(&self) {
        self.shared.note(|books| books.disconnect(self.number));
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

    fn request<'a>(&self, of: &'a Pending) -> Request<'a> {
        Request {
            connection: self.number,
            frame: of.frame,
            kind: of.kind,
            sql: of.sql.as_deref(),
            data: of.data,
        }
    }

    fn reply<'a>(&self, to: &'a Pending, begins_trip: bool) -> Reply<'a> {
        Reply {
            request: self.request(to),
            begins_trip,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut session = self.session();
        self.shared.note(|books| {
            session.end(&mut books.counts);
            books.disconnect(self.number);
            books.sessions.remove(&self.number);
        });
    }
}

struct Held<'c>(&'c Connection);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.session().held -= 1;
    }
}

/// Counts a connection to the server until the server has closed it.
struct ServerSession {
    shared: Arc<Shared>,
    open: bool,
}

impl ServerSession {
    fn begin(shared: Arc<Shared>) -> ServerSession {
        shared.note(|books| books.counts.sessions_open += 1);
        ServerSession { shared, open: true }
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.open, false) {
            self.shared.note(|books| books.counts.sessions_open -= 1);
        }
    }
}

impl Drop for ServerSession {
    fn drop(&mut self) {
        self.end();
    }
}
