use std::io::{self, Write};

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::pages::{Page, Pages};
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

/// What a caller passes in, as what the standard library writes to.
struct Sink<'a>(&'a mut dyn FnMut(&[u8]) -> io::Result<()>);

impl Write for Sink<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        (self.0)(piece)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Renders documents, for any number of threads and clients at one time.
pub struct Render {
    pages: Pages,
}

impl Render {
    pub fn new(cfg: RenderCfg) -> Render {
        Render {
            pages: Pages::new(cfg.max_idle, cfg.max_retained, cfg.typical),
        }
    }

    /// Renders `req` and gives `sink` the body, in one piece or more; returns the body's length.
    pub fn render_into(
        &self,
        req: &Req,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<usize, RenderError> {
        let page = self.page(req)?;
        Sink(sink).write_all(&page)?;
        Ok(page.len())
    }

    /// Renders `req` and sends the body to a client, as fast as the client takes it; returns the body's length.
    pub async fn respond<W: AsyncWrite + Unpin>(&self, req: &Req, w: &mut W) -> Result<usize, RenderError> {
        let page = self.page(req)?;
        w.write_all(&page).await?;
        Ok(page.len())
    }

    fn page(&self, req: &Req) -> Result<Page<'_>, RenderError> {
        let mut page = self.pages.take();
        body::write(req, &mut page)?;
        Ok(page)
    }

    /// What is kept for the next documents, in bytes. For the dashboard.
    pub fn idle_bytes(&self) -> usize {
        self.pages.idle_bytes()
    }
}
