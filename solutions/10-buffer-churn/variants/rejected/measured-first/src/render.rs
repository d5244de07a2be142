use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::pages::Length;
use crate::{RenderError, Req, body};

#[derive(Clone, Debug)]
pub struct RenderCfg {
    /// How much may be kept for the next documents, in pieces. At least 1.
    pub max_idle: usize,
    /// The size up to which a piece is kept, in bytes.
    pub max_retained: usize,
    /// What most bodies fit in, in bytes. At most `max_retained`.
    pub typical: usize,
}

/// Renders documents, for any number of threads and clients at one time.
pub struct Render {}

impl Render {
    pub fn new(_cfg: RenderCfg) -> Render {
        Render {}
    }

    /// Renders `req` and gives `sink` the body, in one piece or more; returns the body's length.
    pub fn render_into(
        &self,
        req: &Req,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<usize, RenderError> {
        let body = exact(req)?;
        sink(&body)?;
        Ok(body.len())
    }

    /// Renders `req` and sends the body to a client, as fast as the client takes it; returns the body's length.
    pub async fn respond<W: AsyncWrite + Unpin>(&self, req: &Req, w: &mut W) -> Result<usize, RenderError> {
        let body = exact(req)?;
        w.write_all(&body).await?;
        Ok(body.len())
    }

    /// What is kept for the next documents, in bytes. For the dashboard.
    pub fn idle_bytes(&self) -> usize {
        0
    }
}

fn exact(req: &Req) -> Result<Vec<u8>, RenderError> {
    let mut length = Length::default();
    body::write(req, &mut length)?;
    let mut body = Vec::with_capacity(length.0);
    body::write(req, &mut body)?;
    Ok(body)
}
