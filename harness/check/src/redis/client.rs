//! The grader's own client: one command at a time, past the taps.

use super::resp::{self, Value};
use bytes::{Buf, BytesMut};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buf: BytesMut,
}

impl Client {
    pub async fn connect(host: &str, port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Client {
            stream,
            buf: BytesMut::new(),
        })
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// The connection broke, or the server answered with an error.
    pub async fn command(&mut self, args: &[&str]) -> io::Result<Value> {
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        self.stream.write_all(&resp::encode(&args)).await?;
        loop {
            if let Some((value, len)) = resp::value(&self.buf)? {
                self.buf.advance(len);
                return match value {
                    Value::Error(text) => Err(io::Error::other(text)),
                    value => Ok(value),
                };
            }
            if self.stream.read_buf(&mut self.buf).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
