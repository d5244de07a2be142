//! One connection through a tap: the client's frames one way, the node's the other. A frame is passed on once all of it
//! is there.

use super::frame::{self, Asked};
use super::rule::{Reply, Request};
use super::tap::Shared;
use crate::tap::{Decision, Fate, Pass, audible};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// How much is read at once.
const CHUNK_LEN: usize = 16 * 1024;

/// How long a node may take to read what was passed on before its connection was cut.
const READ_OUT: Duration = Duration::from_secs(5);

/// How one direction came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The sender has closed, and everything it sent has been passed on.
    Closed,
    /// The client's side is closed at once; the node reads what was passed on.
    Cut,
}

struct Connection {
    shared: Arc<Shared>,
    number: u64,
    /// What the node has not answered yet, in order.
    pending: Mutex<VecDeque<Asked>>,
}

/// Serves a client that has just connected, until either side closes.
pub(super) async fn serve(shared: Arc<Shared>, client: TcpStream, server: (String, u16)) {
    let mut cuts = shared.cuts.subscribe();
    if !shared.admits(&mut cuts).await {
        return;
    }
    let number = {
        let counts = &mut shared.books().counts;
        counts.connections_total += 1;
        counts.connections_total
    };
    let Ok(server) = TcpStream::connect((server.0.as_str(), server.1)).await else {
        return;
    };
    let connection = Connection {
        shared,
        number,
        pending: Mutex::default(),
    };
    tokio::select! {
        // A side that is gone, or speaks something else, shows as a connection that is closed.
        _ = connection.converse(client, server) => {}
        _ = cuts.changed() => {}
    }
}

impl Connection {
    async fn converse(&self, client: TcpStream, server: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let end = tokio::select! {
            end = self.requests(&mut from_client, &mut to_server) => end,
            end = self.replies(&mut from_server, &mut to_client) => end.and(Ok(End::Cut)),
        };
        drop((from_client, to_client));
        // Whoever closes at once may take back what it has just said.
        if end.is_ok() {
            to_server.shutdown().await?;
            let mut rest = [0; 1024];
            let reading = async { while from_server.read(&mut rest).await.unwrap_or(0) > 0 {} };
            tokio::time::timeout(READ_OUT, reading).await.ok();
        }
        Ok(())
    }

    async fn requests(&self, client: &mut OwnedReadHalf, server: &mut OwnedWriteHalf) -> io::Result<End> {
        let mut buf = BytesMut::new();
        let mut greeted = false;
        while let Some(frame) = next(client, &mut buf).await? {
            let asked = Asked::read(&frame).filter(|_| greeted);
            greeted = true;
            let mut pass = Pass::On;
            if let Some(asked) = &asked {
                self.count(asked);
                let request = self.seen(asked);
                pass = decide(|after| self.shared.rules.request(&request, after)).await;
            }
            match pass {
                Pass::Cut => return Ok(End::Cut),
                Pass::Silence => std::future::pending().await,
                Pass::On | Pass::OnAndCut => {}
            }
            audible(&mut self.shared.link.subscribe()).await;
            if let Some(asked) = asked.filter(|asked| asked.xid >= 0) {
                let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
                pending.push_back(asked);
            }
            server.write_all(&frame).await?;
            if pass == Pass::OnAndCut {
                return Ok(End::Cut);
            }
        }
        Ok(End::Closed)
    }

    async fn replies(&self, server: &mut OwnedReadHalf, client: &mut OwnedWriteHalf) -> io::Result<End> {
        let mut buf = BytesMut::new();
        let mut greeted = false;
        while let Some(frame) = next(server, &mut buf).await? {
            let mut pass = Pass::On;
            if !greeted {
                greeted = true;
                let books = &mut self.shared.books();
                if let Some(session) =
                    frame::session(&frame).filter(|session| !books.sessions.contains(session))
                {
                    books.sessions.push(session);
                }
            } else if let Some(asked) = self.answered(&frame) {
                let reply = Reply {
                    request: self.seen(&asked),
                };
                pass = decide(|after| self.shared.rules.reply(&reply, after)).await;
            }
            match pass {
                Pass::Cut => return Ok(End::Cut),
                Pass::Silence => std::future::pending().await,
                Pass::On | Pass::OnAndCut => {}
            }
            audible(&mut self.shared.link.subscribe()).await;
            client.write_all(&frame).await?;
            if pass == Pass::OnAndCut {
                return Ok(End::Cut);
            }
        }
        Ok(End::Closed)
    }

    fn count(&self, asked: &Asked) {
        let counts = &mut self.shared.books().counts;
        counts.questions += u64::from(asked.is_question());
        *counts.by_op.entry(asked.name().to_owned()).or_default() += 1;
    }

    fn seen<'a>(&self, asked: &'a Asked) -> Request<'a> {
        Request {
            connection: self.number,
            op: asked.name(),
            path: &asked.path,
            question: asked.is_question(),
        }
    }

    /// The request that a frame answers: the node answers in order.
    fn answered(&self, frame: &[u8]) -> Option<Asked> {
        let xid = frame::answered(frame)?;
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.pop_front_if(|asked| asked.xid == xid)
    }
}

/// The next whole frame; `None` when there is none any more.
async fn next(from: &mut OwnedReadHalf, buf: &mut BytesMut) -> io::Result<Option<Bytes>> {
    loop {
        if let Some(frame) = frame::take(buf)? {
            return Ok(Some(frame));
        }
        buf.reserve(CHUNK_LEN);
        if from.read_buf(buf).await? == 0 {
            return Ok(None);
        }
    }
}

/// Asks the rules about a frame, and waits where they say so.
async fn decide(ask: impl Fn(u64) -> Decision) -> Pass {
    let mut asked = 0;
    loop {
        match ask(asked) {
            Decision::Settled(pass) => return pass,
            Decision::Held { rule, by } => {
                asked = rule;
                if by.over().await == Fate::Lose {
                    return Pass::Cut;
                }
            }
        }
    }
}
