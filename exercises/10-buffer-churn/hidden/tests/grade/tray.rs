//! Where bodies arrive: compared with what they must be, byte by byte, and without allocating anything.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use buffer_churn_hidden::subject::{Render, RenderError};
use buffer_churn_hidden::traffic::{Doc, mark};
use harness::{Failure, Outcome};
use tokio::io::AsyncWrite;

use crate::standstill;

const HEAD: &str =
    "The next response starts with the previous tenant's bytes: memory that is used again is emptied first.";
const TAIL: &str =
    "Bytes beyond what you wrote are someone else's: what was in the memory before is sent along.";
const MIXED: &str = "Two documents were in the same memory at the same time: it was given away while a body in it was \
                     still on its way.";
const CUT: &str = "The body ends early: what a call says that it has taken is all that it has taken.";
pub const FORMAT: &str =
    "Customers compare bodies byte for byte: another way to render must give the same bytes.";

/// How much of a body is kept to say what is wrong with it.
const KEPT: usize = 32 * 1024;

/// Takes one body at a time.
pub struct Tray {
    doc: Arc<Doc>,
    taken: usize,
    wrong_at: Option<usize>,
    kept: Vec<u8>,
}

impl Tray {
    pub fn of(doc: &Arc<Doc>) -> Tray {
        Tray {
            doc: Arc::clone(doc),
            taken: 0,
            wrong_at: None,
            kept: Vec::with_capacity(KEPT),
        }
    }

    /// Empties it for the next body.
    pub fn expect(&mut self, doc: &Arc<Doc>) {
        self.doc.clone_from(doc);
        self.taken = 0;
        self.wrong_at = None;
        self.kept.clear();
    }

    pub fn take(&mut self, piece: &[u8]) {
        let due = self.doc.body.get(self.taken..).unwrap_or_default();
        let due = &due[..piece.len().min(due.len())];
        if self.wrong_at.is_none() && piece[..due.len()] != *due {
            let same = piece.iter().zip(due).take_while(|(got, due)| got == due).count();
            self.wrong_at = Some(self.taken + same);
        }
        self.kept
            .extend_from_slice(&piece[..piece.len().min(KEPT - self.kept.len())]);
        self.taken += piece.len();
    }

    pub fn taken(&self) -> usize {
        self.taken
    }

    /// The body arrived, all of it, and nothing else; `said` is what the renderer returned.
    pub fn holds(&self, said: Result<usize, RenderError>) -> Outcome {
        if self.wrong_at.is_none() && self.taken == self.doc.body.len() {
            return match said {
                Ok(len) if len == self.taken => Ok(()),
                other => Err(Failure::new(format!(
                    "a body of {} bytes arrived whole, and the renderer returned {other:?}",
                    self.taken
                ))),
            };
        }
        if let Err(error) = said {
            let mark = mark(self.doc.tenant);
            return Err(Failure::new(format!(
                "a document of {mark} was answered with an error: {error}"
            ))
            .because("Nothing was wrong with this document: what happens to others is their own affair."));
        }
        Err(self.differs())
    }

    /// Nothing arrived that does not belong there; the body may have been cut off.
    pub fn holds_a_part(&self) -> Outcome {
        if self.wrong_at.is_none() && self.taken <= self.doc.body.len() {
            Ok(())
        } else {
            Err(self.differs())
        }
    }

    fn differs(&self) -> Failure {
        let (taken, due) = (self.taken, self.doc.body.len());
        let mut told = format!(
            "{} was sent {taken} bytes instead of {due}",
            mark(self.doc.tenant)
        );
        let foreign = self.foreign();
        match (self.wrong_at, &foreign) {
            (Some(at), Some(foreign)) => {
                told.push_str(&format!(", wrong from byte {at} on, with {foreign} in them"))
            }
            (Some(at), None) => told.push_str(&format!(", wrong from byte {at} on")),
            (None, Some(foreign)) => told.push_str(&format!(", with {foreign} in them")),
            (None, None) => {}
        }
        let because = match self.wrong_at {
            None if taken > due => TAIL,
            None => CUT,
            Some(_) if taken > due && foreign.is_some() => HEAD,
            Some(_) if foreign.is_some() => MIXED,
            Some(_) => FORMAT,
        };
        let failure = Failure::new(told).because(because);
        let from = self
            .wrong_at
            .unwrap_or(due)
            .saturating_sub(20)
            .min(self.kept.len());
        let excerpt = &self.kept[from..self.kept.len().min(from + 120)];
        failure.evidence(format!(
            "from byte {from}: {}",
            String::from_utf8_lossy(excerpt).trim_end()
        ))
    }

    /// Another tenant's mark among what was kept.
    fn foreign(&self) -> Option<String> {
        let own = mark(self.doc.tenant);
        let text = String::from_utf8_lossy(&self.kept);
        text.match_indices("tenant-")
            .filter_map(|(at, _)| text.get(at..at + own.len()))
            .find(|found| *found != own && found.bytes().skip(7).take(4).all(|byte| byte.is_ascii_digit()))
            .map(str::to_owned)
    }
}

impl AsyncWrite for Tray {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Renders `doc` into `tray`, and it is what it must be.
pub fn rendered(render: &Render, doc: &Arc<Doc>, tray: &mut Tray) -> Outcome {
    tray.expect(doc);
    let said = render.render_into(&doc.req, &mut |piece| {
        tray.take(piece);
        Ok(())
    });
    tray.holds(said)
}

/// Sends `doc` to a client that takes everything at once, and it is what it must be.
pub async fn sent(render: &Render, doc: &Arc<Doc>, tray: &mut Tray) -> Outcome {
    tray.expect(doc);
    let said = render.respond(&doc.req, tray).await;
    tray.holds(said)
}

/// Holds clients back until it is opened.
#[derive(Default)]
pub struct Gate {
    open: AtomicBool,
    reached: AtomicUsize,
    waiting: Mutex<Vec<Waker>>,
}

impl Gate {
    pub fn new() -> Arc<Gate> {
        Arc::default()
    }

    /// Clients that have taken their first bytes and wait.
    pub fn reached(&self) -> usize {
        self.reached.load(SeqCst)
    }

    /// Blocks until `clients` wait, or nobody moves any more; says why then.
    pub fn until(&self, clients: usize) -> Result<(), &'static str> {
        standstill::until(|| (self.reached() >= clients).then_some(()))
    }

    fn reach(&self) {
        self.reached.fetch_add(1, SeqCst);
        standstill::ring();
    }

    pub fn open(&self) {
        self.open.store(true, SeqCst);
        let waiting = self
            .waiting
            .lock()
            .map(|mut waiting| std::mem::take(&mut *waiting));
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// Whether it is open; if not, `cx` is woken when it is.
    fn pass(&self, cx: &Context<'_>) -> bool {
        if let Ok(mut waiting) = self.waiting.lock()
            && !self.open.load(SeqCst)
        {
            waiting.push(cx.waker().clone());
            return false;
        }
        true
    }
}

/// A client that takes `first` bytes, and the rest only when its gate is open.
pub struct Client {
    pub tray: Tray,
    pub gate: Arc<Gate>,
    pub first: usize,
    waits: bool,
}

impl Client {
    pub fn of(doc: &Arc<Doc>, gate: &Arc<Gate>, first: usize) -> Client {
        Client {
            tray: Tray::of(doc),
            gate: Arc::clone(gate),
            first,
            waits: false,
        }
    }
}

impl AsyncWrite for Client {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let now = self.first.saturating_sub(self.tray.taken()).min(bytes.len());
        if now > 0 {
            self.tray.take(&bytes[..now]);
            return Poll::Ready(Ok(now));
        }
        if self.gate.pass(cx) {
            self.tray.take(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        if !self.waits {
            self.waits = true;
            self.gate.reach();
        }
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
