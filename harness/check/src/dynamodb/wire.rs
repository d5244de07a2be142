//! One connection through a tap: a request, its answer, the next request. A message is passed on once all of it is there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::capacity::{self, Admission};
use super::http::{self, Message};
use super::operation::{self, Request};
use super::refusal::Refusal;
use super::tap::Shared;
use crate::tap::{Decision, Fate, Pass, audible};

/// What the field `X-Amz-Target` starts with.
const API: &str = "DynamoDB_20120810.";

/// Serves a client that has just connected, until it or the server has closed.
pub(super) async fn serve(shared: Arc<Shared>, client: TcpStream, server: (String, u16)) {
    let mut cuts = shared.cuts.subscribe();
    if !shared.admits(&mut cuts).await {
        return;
    }
    let number = shared.note(|books| {
        books.counts.connections_total += 1;
        books.counts.connections_open += 1;
        books.counts.connections_total
    });
    let _open = Open(&shared);
    // A server that cannot be reached shows as a connection that is closed without an answer.
    tokio::select! {
        _ = converse(&shared, number, client, server) => {}
        _ = cuts.changed() => {}
    }
}

/// Counts the connection as open.
struct Open<'a>(&'a Shared);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.note(|books| books.counts.connections_open -= 1);
    }
}

/// Counts a request as in flight.
struct InFlight<'a>(&'a Shared);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.note(|books| books.counts.in_flight -= 1);
    }
}

struct Server {
    reads: OwnedReadHalf,
    writes: OwnedWriteHalf,
    ahead: BytesMut,
}

impl Server {
    async fn answer(&mut self, message: &Message) -> io::Result<Message> {
        self.writes.write_all(&message.to_bytes()).await?;
        http::read(&mut self.reads, &mut self.ahead)
            .await?
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

async fn converse(
    shared: &Shared,
    connection: u64,
    client: TcpStream,
    (host, port): (String, u16),
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (mut reads, mut writes) = client.into_split();
    let server = TcpStream::connect((host.as_str(), port)).await?;
    server.set_nodelay(true)?;
    let (server_reads, server_writes) = server.into_split();
    let mut server = Server {
        reads: server_reads,
        writes: server_writes,
        ahead: BytesMut::new(),
    };
    let mut ahead = BytesMut::new();
    while let Some(message) = http::read(&mut reads, &mut ahead).await? {
        match turn(shared, connection, &mut server, message).await? {
            Some(answer) => writes.write_all(&answer.to_bytes()).await?,
            None => break,
        }
    }
    Ok(())
}

/// One request and its answer; `None` to break the connection.
async fn turn(
    shared: &Shared,
    connection: u64,
    server: &mut Server,
    message: Message,
) -> io::Result<Option<Message>> {
    let operation = message
        .field("x-amz-target")
        .and_then(|target| target.strip_prefix(API));
    let operation = operation.unwrap_or_default().to_owned();
    let body: Value = serde_json::from_slice(&message.body).unwrap_or_default();
    let request = Request {
        connection,
        number: shared.setting.numbers.fetch_add(1, Ordering::Relaxed) + 1,
        accesses: operation::accesses(&operation, &body, &shared.setting.hash_key),
        operation,
    };
    let items = !request.accesses.is_empty();
    shared.note(|books| {
        let counts = &mut books.counts;
        *counts.by_operation.entry(request.operation.clone()).or_default() += 1;
        counts.requests += u64::from(items);
        counts.writes += u64::from(request.writes());
        counts.reads += u64::from(request.reads());
        counts.in_flight += 1;
        counts.in_flight_peak = counts.in_flight_peak.max(counts.in_flight);
        if items {
            crate::tap::noted(&mut books.log, request.clone());
        }
    });
    let in_flight = InFlight(shared);
    if shared.decided(&request, Side::Request).await == Passage::Broken {
        return Ok(None);
    }
    let admission = match shared.setting.refusals.of(&request) {
        None => capacity::admit(&shared.setting.partitions, &request, &body),
        Some(Refusal::LeftOut(out)) => {
            let admitted: Vec<bool> = out.iter().map(|out| !out).collect();
            capacity::in_part(&body, &admitted)
        }
        Some(refusal) => return Ok(Some(refused(shared, &refusal))),
    };
    let (message, left) = match admission {
        Admission::All => (message, None),
        Admission::Part { body, left } => {
            shared.note(|books| books.counts.throttled += 1);
            (message.with_body(bytes_of(&body)), Some(left))
        }
        Admission::Refused(refusal) => {
            shared.note(|books| books.counts.throttled += 1);
            return Ok(Some(refused(shared, &refusal)));
        }
    };
    audible(&mut shared.link.subscribe()).await;
    let mut answer = server.answer(&message).await?;
    // What the answer says is only worth parsing where it is of use.
    if answer.status() == 200 && (request.reads() || left.is_some()) {
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        capacity::settle(
            &shared.setting.partitions,
            &request,
            &said,
            &shared.setting.hash_key,
        );
        if let Some(left) = left {
            let whole = capacity::with_the_rest(&request.operation, said, left);
            answer = answer.with_body(bytes_of(&whole));
        }
    } else if answer.status() != 200 {
        note_error(shared, &answer.body);
    }
    if shared.decided(&request, Side::Answer).await == Passage::Broken {
        return Ok(None);
    }
    audible(&mut shared.link.subscribe()).await;
    // Whoever has the answer must find it counted.
    drop(in_flight);
    Ok(Some(answer))
}

fn refused(shared: &Shared, refusal: &Refusal) -> Message {
    if let Some(code) = refusal.code() {
        shared.note(|books| *books.counts.errors.entry(code.to_owned()).or_default() += 1);
    }
    Message::answer(refusal.status(), bytes_of(&refusal.body()))
}

fn note_error(shared: &Shared, body: &Bytes) {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = said["__type"].as_str().unwrap_or("unknown");
    let code = code.rsplit('#').next().unwrap_or_default().to_owned();
    shared.note(|books| *books.counts.errors.entry(code).or_default() += 1);
}

fn bytes_of(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

#[derive(Clone, Copy)]
enum Side {
    Request,
    Answer,
}

#[derive(PartialEq, Eq)]
enum Passage {
    Free,
    Broken,
}

impl Shared {
    /// Asks the rules, and waits as long as they want.
    async fn decided(&self, request: &Request, side: Side) -> Passage {
        let mut asked = 0;
        loop {
            let decision = match side {
                Side::Request => self.rules.request(request, asked),
                Side::Answer => self.rules.reply(request, asked),
            };
            match decision {
                Decision::Settled(Pass::On) => return Passage::Free,
                // A request is answered or it is not: there is no difference between the two sides of it.
                Decision::Settled(Pass::Cut | Pass::OnAndCut) => return Passage::Broken,
                Decision::Settled(Pass::Silence) => std::future::pending().await,
                Decision::Held { rule, by } => {
                    asked = rule;
                    if by.over().await == Fate::Lose {
                        return Passage::Broken;
                    }
                }
            }
        }
    }
}
