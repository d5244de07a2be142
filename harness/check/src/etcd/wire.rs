//! One connection through a tap: a request, then its answer, then the next request.

use super::rule::{Reply, Request};
use super::tap::Shared;
use crate::tap::http::{Body, Head};
use crate::tap::{Decision, Fate, Pass, audible};
use bytes::{Bytes, BytesMut};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How much is read at once.
const CHUNK_LEN: usize = 16 * 1024;

/// Serves a client that has just connected, until either side closes.
pub(super) async fn serve(shared: Arc<Shared>, client: TcpStream, server: (String, u16)) {
    let mut cuts = shared.cuts.subscribe();
    if !shared.admits(&mut cuts).await {
        return;
    }
    let number = shared.note(|counts| {
        counts.connections_total += 1;
        counts.connections_total
    });
    let Ok(server) = TcpStream::connect((server.0.as_str(), server.1)).await else {
        return;
    };
    let mut client = Client {
        stream: client,
        ahead: BytesMut::new(),
        closed: false,
    };
    tokio::select! {
        // A side that is gone, or speaks something else, shows as a connection that is closed.
        _ = converse(&shared, number, &mut client, server) => {}
        _ = cuts.changed() => {}
    }
}

async fn converse(
    shared: &Shared,
    number: u64,
    client: &mut Client,
    mut server: TcpStream,
) -> io::Result<()> {
    client.stream.set_nodelay(true)?;
    server.set_nodelay(true)?;
    loop {
        // Between two requests the server may hang up too, and says nothing else.
        let mut more = [0];
        let next = tokio::select! {
            biased;
            next = client.message() => next?,
            _ = server.peek(&mut more) => None,
        };
        let Some((head, message)) = next else {
            return Ok(());
        };
        let path = head.path().to_owned();
        shared.note(|counts| {
            counts.requests += 1;
            *counts.by_path.entry(path.clone()).or_default() += 1;
        });
        let request = Request {
            connection: number,
            path: &path,
            body: &message[head.len..],
        };
        let pass = decide(client, |asked| shared.rules.request(&request, asked)).await;
        match pass {
            Pass::Cut => return Ok(()),
            Pass::Silence => return client.until_closed().await,
            Pass::On | Pass::OnAndCut => {}
        }
        client.meanwhile(audible(&mut shared.link.subscribe())).await;
        let gone_before = client.closed;
        server.write_all(&message).await?;
        if pass == Pass::OnAndCut {
            // What was sent is done by the server; that its answer has nowhere to go is seen later.
            client.stream.shutdown().await.ok();
        }
        let abandoned = gone_before || pass == Pass::OnAndCut;
        if !answer(shared, &request, client, &mut server, abandoned).await? {
            return Ok(());
        }
    }
}

/// Passes on the answer to `request`; whether the connection goes on. Whoever hangs up while it waits for an answer ends
/// its request in the server too, as it would without a tap; `abandoned` requests were passed on later, and are done.
async fn answer(
    shared: &Shared,
    request: &Request<'_>,
    client: &mut Client,
    server: &mut TcpStream,
    abandoned: bool,
) -> io::Result<bool> {
    let mut buf = BytesMut::new();
    let head = loop {
        if let Some(head) = Head::parse(&buf)? {
            break head;
        }
        if !client.attend(server, &mut buf, abandoned).await? {
            return Ok(false);
        }
    };
    let whole = |buf: &[u8]| head.message_len(buf);
    // The gateway's streams are chunked, and may never end.
    while whole(&buf)?.is_none() && (matches!(head.body, Body::Sized(_)) || buf.len() == head.len) {
        if !client.attend(server, &mut buf, abandoned).await? {
            return Ok(false);
        }
    }
    let reply = Reply { request: *request };
    let pass = decide(client, |asked| shared.rules.reply(&reply, asked)).await;
    match pass {
        Pass::Cut => return Ok(false),
        Pass::Silence => {
            client.until_closed().await?;
            return Ok(false);
        }
        Pass::On | Pass::OnAndCut => {}
    }
    client.meanwhile(audible(&mut shared.link.subscribe())).await;
    client.stream.write_all(&buf).await?;
    let mut passed = buf.len();
    while whole(&buf)?.is_none() {
        if !client.attend(server, &mut buf, abandoned).await? {
            return Ok(false);
        }
        client.meanwhile(audible(&mut shared.link.subscribe())).await;
        client.stream.write_all(&buf[passed..]).await?;
        passed = buf.len();
    }
    Ok(pass == Pass::On && !abandoned)
}

/// Asks the rules about a message, and waits where they say so.
async fn decide(client: &mut Client, ask: impl Fn(u64) -> Decision) -> Pass {
    let mut asked = 0;
    loop {
        match ask(asked) {
            Decision::Settled(pass) => return pass,
            Decision::Held { rule, by } => {
                asked = rule;
                if client.meanwhile(by.over()).await == Fate::Lose {
                    return Pass::Cut;
                }
            }
        }
    }
}

/// The client's side, which is always listened to: one that hangs up is seen at once.
struct Client {
    stream: TcpStream,
    /// What it has sent, and has not been passed on.
    ahead: BytesMut,
    closed: bool,
}

impl Client {
    /// The next request; `None` when there is none any more.
    async fn message(&mut self) -> io::Result<Option<(Head, Bytes)>> {
        loop {
            if let Some(head) = Head::parse(&self.ahead)?
                && let Some(len) = head.message_len(&self.ahead)?
            {
                return Ok(Some((head, self.ahead.split_to(len).freeze())));
            }
            if self.closed {
                return Ok(None);
            }
            self.read().await;
        }
    }

    /// A reset is a way of closing.
    async fn read(&mut self) {
        self.ahead.reserve(CHUNK_LEN);
        self.closed = self.stream.read_buf(&mut self.ahead).await.unwrap_or(0) == 0;
    }

    /// Waits for `event`, reading ahead.
    async fn meanwhile<T>(&mut self, event: impl Future<Output = T>) -> T {
        let mut event = std::pin::pin!(event);
        loop {
            tokio::select! {
                biased;
                happened = &mut event => return happened,
                () = self.read(), if !self.closed => {}
            }
        }
    }

    /// Reads more of what the server says; `false` when there is no more, or nobody who waits for it.
    async fn attend(
        &mut self,
        server: &mut TcpStream,
        buf: &mut BytesMut,
        abandoned: bool,
    ) -> io::Result<bool> {
        buf.reserve(CHUNK_LEN);
        loop {
            if self.closed && !abandoned {
                return Ok(false);
            }
            tokio::select! {
                biased;
                read = server.read_buf(buf) => return Ok(read? > 0),
                () = self.read(), if !self.closed => {}
            }
        }
    }

    async fn until_closed(&mut self) -> io::Result<()> {
        while !self.closed {
            self.ahead.clear();
            self.read().await;
        }
        Ok(())
    }
}
