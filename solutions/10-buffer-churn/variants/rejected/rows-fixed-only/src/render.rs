use std::io::{self, Cursor};
use std::sync::{Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::pages::Pages;
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
pub struct Render {
    cfg: RenderCfg,
    pages: Pages,
    /// Bodies for clients are cut from it, so that they can be sent without being copied.
    block: Mutex<BytesMut>,
}

impl Render {
    pub fn new(cfg: RenderCfg) -> Render {
        Render {
            pages: Pages::new(cfg.max_idle, cfg.typical),
            block: Mutex::default(),
            cfg,
        }
    }

    /// Renders `req` and gives `sink` the body, in one piece or more; returns the body's length.
    pub fn render_into(
        &self,
        req: &Req,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<usize, RenderError> {
        let mut page = self.pages.take();
        body::write(req, &mut Cursor::new(&mut page))?;
        sink(&page)?;
        let len = page.len();
        self.pages.give_back(page);
        Ok(len)
    }

    /// Renders `req` and sends the body to a client, as fast as the client takes it; returns the body's length.
    pub async fn respond<W: AsyncWrite + Unpin>(&self, req: &Req, w: &mut W) -> Result<usize, RenderError> {
        let body = self.cut(req)?;
        w.write_all(&body).await?;
        Ok(body.len())
    }

    fn cut(&self, req: &Req) -> Result<Bytes, RenderError> {
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        if block.capacity() > self.cfg.max_retained {
            *block = BytesMut::new();
        }
        block.reserve(self.cfg.typical);
        body::write(req, &mut (&mut *block).writer())?;
        Ok(block.split().freeze())
    }

    /// What is kept for the next documents, in bytes. For the dashboard.
    pub fn idle_bytes(&self) -> usize {
        let block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        self.pages.idle_bytes() + block.capacity()
    }
}
