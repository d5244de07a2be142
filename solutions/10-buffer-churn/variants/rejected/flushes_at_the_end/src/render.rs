use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::body::Body;
use crate::pages::Pages;
use crate::{RenderError, Req};

/// A piece has at least this much room, if so much may be kept.
const LEAST: usize = 256;

#[derive(Clone, Debug)]
pub struct RenderCfg {
    /// How much may be kept for the next documents, in pieces. At least 1.
    pub max_idle: usize,
    /// The size up to which a piece is kept, in bytes.
    pub max_retained: usize,
    /// What most bodies fit in, in bytes. At most `max_retained`.
    pub typical: usize,
}

/// Renders documents, for any number of threads and clients at one time. A body that is longer than is typical goes out
/// in pieces.
pub struct Render {
    pages: Pages,
    room: usize,
}

impl Render {
    pub fn new(cfg: RenderCfg) -> Render {
        let room = cfg.typical.max(LEAST.min(cfg.max_retained)).max(1);
        Render {
            pages: Pages::new(cfg.max_idle, cfg.max_retained, room),
            room,
        }
    }

    /// Renders `req` and gives `sink` the body, in one piece or more; returns the body's length.
    pub fn render_into(
        &self,
        req: &Req,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<usize, RenderError> {
        let mut body = Body::of(req);
        let mut piece = self.pages.take();
        let mut len = 0;
        loop {
            piece.bytes.clear();
            body.fill(&mut piece.bytes, self.room)?;
            if piece.bytes.is_empty() {
                return Ok(len);
            }
            sink(&piece.bytes)?;
            len += piece.bytes.len();
        }
    }

    /// Renders `req` and sends the body to a client, as fast as the client takes it; returns the body's length.
    pub async fn respond<W: AsyncWrite + Unpin>(&self, req: &Req, w: &mut W) -> Result<usize, RenderError> {
        let mut body = Body::of(req);
        let mut piece = self.pages.take();
        let mut len = 0;
        loop {
            piece.bytes.clear();
            body.fill(&mut piece.bytes, self.room)?;
            if piece.bytes.is_empty() {
                w.flush().await?;
                return Ok(len);
            }
            w.write_all(&piece.bytes).await?;
            len += piece.bytes.len();
        }
    }

    /// What is kept for the next documents, in bytes. For the dashboard.
    pub fn idle_bytes(&self) -> usize {
        self.pages.idle_bytes()
    }
}
