//! A client: a TCP connection of its own, which can be closed in more than one way.

use std::net::SocketAddr;
use std::time::Duration;

use harness::{Failure, OrObserved, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// How long a client tries to get rid of its request. Who does not read all of it is left with what is in the buffers.
const SENDING: Duration = Duration::from_secs(2);
/// Enough for an upload that nobody reads.
const SEND_BUFFER_LEN: u32 = 400 * 1024;

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It closes its socket: a browser's tab, a client's time-out.
    Fin,
    /// Its connection is reset: a process that is killed, a proxy that has had enough.
    Rst,
}

pub const LEAVES: [Leave; 2] = [Leave::Fin, Leave::Rst];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

pub struct Visit(TcpStream);

impl Visit {
    /// Connects and sends the request.
    pub async fn begin(to: SocketAddr, request: &[u8]) -> Result<Visit, Failure> {
        let broken = |err| Failure::environment(format!("failed to connect to the service's port: {err}"));
        let socket = TcpSocket::new_v4().map_err(broken)?;
        socket.set_send_buffer_size(SEND_BUFFER_LEN).map_err(broken)?;
        let mut stream = socket.connect(to).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        // An error is an answer before the end of the request, which is read as any other.
        let _ = tokio::time::timeout(SENDING, stream.write_all(request)).await;
        Ok(Visit(stream))
    }

    /// Sends what was left of the request.
    pub async fn more(&mut self, request: &[u8]) {
        // As in `begin`.
        let _ = tokio::time::timeout(SENDING, self.0.write_all(request)).await;
    }

    /// The answer, which ends with the connection.
    pub async fn answer(mut self, deadline: Duration, what: &str) -> Result<Answer, Failure> {
        let mut all = Vec::new();
        let read = within(deadline, what, async {
            loop {
                match self.0.read_buf(&mut all).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        });
        read.await?;
        parsed(&all).or_observed(format!(
            "{what} did not come: the connection was closed after {} bytes",
            all.len()
        ))
    }

    pub fn leave(self, how: Leave) {
        if how == Leave::Rst {
            // An error leaves an ordinary close, which the check is about as well.
            let _ = self.0.set_zero_linger();
        }
    }
}

/// Sends a request and waits for its answer.
pub async fn ask(to: SocketAddr, request: &[u8], deadline: Duration, what: &str) -> Result<Answer, Failure> {
    Visit::begin(to, request).await?.answer(deadline, what).await
}

fn parsed(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_half_of_one_is_none() {
        let answer = parsed(b"HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 4\r\n\r\nlate").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (504, "late"));
        assert_eq!(parsed(b"HTTP/1.1 200 OK\r\ncontent-le"), None);
        assert_eq!(parsed(b""), None);
    }
}
