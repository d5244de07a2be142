//! From the server to the client.

use super::super::resp::{self, Value};
use super::super::rule::Reply;
use super::{Connection, End, read};
use crate::tap::{Decision, Fate, Pass};
use bytes::{Buf, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Passes on what the server says until it closes.
pub(super) async fn forward(
    connection: &Connection,
    server: &mut OwnedReadHalf,
    client: &mut OwnedWriteHalf,
) -> End {
    let mut buf = BytesMut::new();
    loop {
        let (value, len) = match resp::value(&buf) {
            Ok(Some(value)) => value,
            Ok(None) => {
                if read(server, &mut buf).await {
                    return End::Closed;
                }
                continue;
            }
            Err(_) => return End::Cut,
        };
        let pass = ask(connection, &value).await;
        match pass {
            Pass::Cut => {
                connection
                    .shared
                    .note(|books| connection.session().replied(&value, &mut books.counts));
                return End::Cut;
            }
            Pass::Silence => {
                connection.silenced.send_replace(true);
                std::future::pending::<()>().await;
            }
            Pass::On | Pass::OnAndCut => {
                connection.audible().await;
                connection
                    .shared
                    .note(|books| connection.session().replied(&value, &mut books.counts));
                // A client that hung up is seen by the other direction; here its replies just have nowhere to go.
                if client.write_all(&buf[..len]).await.is_err() || matches!(pass, Pass::OnAndCut) {
                    return End::Cut;
                }
                buf.advance(len);
            }
        }
    }
}

/// Asks the rules about a reply, and waits where they say so. What the server says unasked passes.
async fn ask(connection: &Connection, value: &Value) -> Pass {
    loop {
        let decision = {
            let mut session = connection.session();
            let Some(pending) = session.answering(value) else {
                return Pass::On;
            };
            let reply = Reply {
                request: pending.request(),
            };
            let decision = connection.shared.rules.reply(&reply, pending.asked);
            if let Decision::Held { rule, .. } = &decision {
                pending.asked = *rule;
            }
            decision
        };
        match decision {
            Decision::Settled(pass) => return pass,
            Decision::Held { by, .. } => {
                if by.over().await == Fate::Lose {
                    return Pass::Cut;
                }
            }
        }
    }
}
