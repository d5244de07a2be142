use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::RenderError;

const SIZE: usize = 2048;

/// The next bytes of a body, sent whenever there are enough of them.
pub(crate) struct Chunk<'w, W> {
    client: &'w mut W,
    bytes: [u8; SIZE],
    len: usize,
    sent: usize,
}

impl<'w, W: AsyncWrite + Unpin> Chunk<'w, W> {
    pub(crate) fn new(client: &'w mut W) -> Chunk<'w, W> {
        Chunk {
            client,
            bytes: [0; SIZE],
            len: 0,
            sent: 0,
        }
    }

    pub(crate) async fn push(&mut self, mut bytes: &[u8]) -> Result<(), RenderError> {
        while !bytes.is_empty() {
            if self.len == SIZE {
                self.send().await?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(SIZE - self.len));
            self.bytes[self.len..self.len + now.len()].copy_from_slice(now);
            self.len += now.len();
            bytes = later;
        }
        Ok(())
    }

    /// A string in quotes.
    pub(crate) async fn quoted(&mut self, text: &str) -> Result<(), RenderError> {
        self.push(b"\"").await?;
        let mut rest = text.as_bytes();
        while let Some(at) = rest
            .iter()
            .position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\')
        {
            self.push(&rest[..at]).await?;
            match rest[at] {
                b'"' => self.push(br#"\""#).await?,
                b'\\' => self.push(br"\\").await?,
                8 => self.push(br"\b").await?,
                9 => self.push(br"\t").await?,
                10 => self.push(br"\n").await?,
                12 => self.push(br"\f").await?,
                13 => self.push(br"\r").await?,
                control => {
                    let mut escape = *br"\u0000";
                    write!(&mut escape[4..], "{control:02x}")?;
                    self.push(&escape).await?;
                }
            }
            rest = &rest[at + 1..];
        }
        self.push(rest).await?;
        self.push(b"\"").await
    }

    pub(crate) async fn number(&mut self, number: u64) -> Result<(), RenderError> {
        self.push(itoa::Buffer::new().format(number).as_bytes()).await
    }

    /// Sends the rest; the length of it all.
    pub(crate) async fn end(mut self) -> Result<usize, RenderError> {
        self.send().await?;
        Ok(self.sent)
    }

    async fn send(&mut self) -> Result<(), RenderError> {
        self.client.write_all(&self.bytes[..self.len]).await?;
        self.sent += self.len;
        self.len = 0;
        Ok(())
    }
}

/// A sink as a client that is always ready.
pub(crate) struct Sink<'a>(pub(crate) &'a mut dyn FnMut(&[u8]) -> io::Result<()>);

impl AsyncWrite for Sink<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready((self.0)(bytes).map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
