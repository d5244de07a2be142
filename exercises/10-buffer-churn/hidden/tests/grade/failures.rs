//! Documents that fail, in every place where they can, and those that come after them.

use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use buffer_churn_hidden::subject::{Render, RenderError};
use buffer_churn_hidden::traffic::{self, Doc, Fault, OFFLINE, Planted, SHORTEST};
use harness::{Check, Failure, Outcome, alloc, ensure};
use tokio::io::AsyncWrite;
use tokio::runtime::Handle;

use crate::cost::{self, Cost, renderer, settings};
use crate::meeting::{WAITS, aside, panicked};
use crate::tray::{Tray, rendered, sent};

/// How a caller asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Rendering,
    Responding,
}

impl Way {
    pub const BOTH: [Way; 2] = [Way::Rendering, Way::Responding];

    /// A document that is all right, rendered this way, is what it must be.
    pub fn ask(self, render: &Render, runtime: &Handle, doc: &Arc<Doc>, tray: &mut Tray) -> Outcome {
        match self {
            Way::Rendering => rendered(render, doc, tray),
            Way::Responding => runtime.block_on(sent(render, doc, tray)),
        }
    }
}

/// What a document costs while nothing goes wrong, and what one costs that comes after something that did.
#[derive(Clone, Copy, Debug)]
pub struct Aftermath {
    pub undisturbed: Cost,
    pub after: Cost,
}

impl Aftermath {
    /// `disturb` goes wrong; only `document` is counted.
    pub fn measure(
        mut disturb: impl FnMut() -> Outcome,
        mut document: impl FnMut() -> Outcome,
    ) -> Result<Aftermath, Failure> {
        const DOCUMENTS: usize = 100;
        let mut counting = |disturb: &mut dyn FnMut() -> Outcome| {
            cost::cost(DOCUMENTS, || {
                let mut sum = alloc::Heap::default();
                for _ in 0..DOCUMENTS {
                    disturb()?;
                    let heap = cost::counted(&mut document)?;
                    sum.allocations += heap.allocations;
                    sum.bytes += heap.bytes;
                }
                Ok(sum)
            })
        };
        let undisturbed = counting(&mut || Ok(()))?;
        let after = counting(&mut disturb)?;
        Ok(Aftermath { undisturbed, after })
    }

    /// Whoever comes after pays nothing for it.
    pub fn judge(self, what: &str, because: &str) -> Outcome {
        let (undisturbed, after) = (self.undisturbed.allocations, self.after.allocations);
        ensure!(
            after - undisturbed < 0.05,
            because,
            "a document costs {after:.2} allocations after {what}, and {undisturbed:.2} otherwise"
        );
        Ok(())
    }
}

const LOST: &str = "Every failed render loses a buffer: a line that gives it back is not reached by `?`, nor by a panic; return \
                    it in Drop.";

pub async fn refusals(cx: &Check) -> Outcome {
    let (cfg, runtime) = (settings(cx), Handle::current());
    let judged = aside("a thread with documents that fail", move || {
        let render = renderer(&cfg);
        let disturb = |way, doc: &Arc<Doc>, tray: &mut Tray| refused(&render, &runtime, way, doc, tray);
        let broken = |n, len| traffic::failing(n, len, Fault::Refuses);
        isolated(&render, &runtime, broken, disturb)?;
        for way in Way::BOTH {
            let (typical, broken) = (
                traffic::doc(1, cfg.typical - 100),
                traffic::failing(2, cfg.typical - 100, Fault::Refuses),
            );
            let (mut tray, mut other) = (Tray::of(&typical), Tray::of(&broken));
            Aftermath::measure(
                || refused(&render, &runtime, way, &broken, &mut other),
                || way.ask(&render, &runtime, &typical, &mut tray),
            )?
            .judge("one that failed", LOST)?;
        }
        Ok(())
    });
    judged.join(WAITS)
}

/// Renders a document whose value cannot be looked up. What arrives is the beginning of its body, or nothing.
fn refused(render: &Render, runtime: &Handle, way: Way, doc: &Arc<Doc>, tray: &mut Tray) -> Outcome {
    tray.expect(doc);
    let said = match way {
        Way::Rendering => render.render_into(&doc.req, &mut |piece| {
            tray.take(piece);
            Ok(())
        }),
        Way::Responding => runtime.block_on(render.respond(&doc.req, tray)),
    };
    match said {
        Err(RenderError::Value(why)) if why.contains(OFFLINE) => tray.holds_a_part(),
        other => Err(Failure::new(format!(
            "a value that says \"{OFFLINE}\" was answered with {other:?} instead of a RenderError::Value that says so"
        ))
        .because("A body without one of its values is a wrong body, and nobody would learn of it: the caller is told.")),
    }
}

/// Between documents that are all right others go wrong, whose tenants' bytes go nowhere.
fn isolated(
    render: &Render,
    runtime: &Handle,
    broken: impl Fn(usize, usize) -> Arc<Doc>,
    disturb: impl Fn(Way, &Arc<Doc>, &mut Tray) -> Outcome,
) -> Outcome {
    let lengths = [SHORTEST + 50, 10 << 10, 1 << 10, 60 << 10, SHORTEST + 500];
    let broken: Vec<_> = (0..).zip(lengths).map(|(n, len)| broken(8000 + n, len)).collect();
    // Each longer than the one before: what a shorter body finds is another check's business.
    let good: Vec<_> = (0..400).map(|n| traffic::doc(n, SHORTEST + 20 * n)).collect();
    let (mut tray, mut other) = (Tray::of(&good[0]), Tray::of(&broken[0]));
    for (n, doc) in good.iter().enumerate() {
        let disturbed = Way::BOTH[n % 2];
        disturb(disturbed, &broken[n % broken.len()], &mut other)?;
        for way in [Way::BOTH[n / 2 % 2], disturbed] {
            way.ask(render, runtime, doc, &mut tray)?;
        }
    }
    Ok(())
}

/// Where a caller's code panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    LookUp,
    Taking,
}

impl Place {
    /// A document on whose way there is a panic in this place, and in no other.
    fn broken(self, number: usize, len: usize) -> Arc<Doc> {
        match self {
            Place::LookUp => traffic::failing(number, len, Fault::Panics),
            Place::Taking => traffic::doc(number, len),
        }
    }
}

pub async fn panics(cx: &Check) -> Outcome {
    let (cfg, runtime) = (settings(cx), Handle::current());
    let judged = aside("a thread with documents that panic", move || {
        let render = renderer(&cfg);
        for place in [Place::LookUp, Place::Taking] {
            let disturb =
                |way, doc: &Arc<Doc>, tray: &mut Tray| panics_in(place, &render, &runtime, way, doc, tray);
            let broken = |n, len| place.broken(n, len);
            isolated(&render, &runtime, broken, disturb)?;
            for way in Way::BOTH {
                let typical = traffic::doc(1, cfg.typical - 100);
                let broken = place.broken(2, cfg.typical - 100);
                let (mut tray, mut other) = (Tray::of(&typical), Tray::of(&broken));
                Aftermath::measure(
                    || panics_in(place, &render, &runtime, way, &broken, &mut other),
                    || way.ask(&render, &runtime, &typical, &mut tray),
                )?
                .judge("one that panicked", LOST)?;
            }
        }
        Ok(())
    });
    judged.join(WAITS)
}

/// Takes its first bytes and panics.
struct Panicking<'t>(&'t mut Tray);

impl AsyncWrite for Panicking<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.take(bytes);
        std::panic::resume_unwind(Box::new(Planted))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn panics_in(
    place: Place,
    render: &Render,
    runtime: &Handle,
    way: Way,
    doc: &Arc<Doc>,
    tray: &mut Tray,
) -> Outcome {
    tray.expect(doc);
    let said = catch_unwind(AssertUnwindSafe(|| match (way, place) {
        (Way::Rendering, Place::LookUp) => render.render_into(&doc.req, &mut |piece| {
            tray.take(piece);
            Ok(())
        }),
        (Way::Rendering, Place::Taking) => render.render_into(&doc.req, &mut |piece| {
            tray.take(piece);
            std::panic::resume_unwind(Box::new(Planted))
        }),
        (Way::Responding, Place::LookUp) => runtime.block_on(render.respond(&doc.req, tray)),
        (Way::Responding, Place::Taking) => runtime.block_on(render.respond(&doc.req, &mut Panicking(tray))),
    }));
    tray.holds_a_part()?;
    match said {
        Err(payload) if payload.is::<Planted>() => Ok(()),
        Err(payload) => Err(panicked("the renderer", &*payload)),
        Ok(said) => Err(Failure::new(format!(
            "a caller's panic was swallowed, and answered with {said:?}"
        ))),
    }
}

/// How a client is lost, or how it takes what it is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// A few bytes at a time, now and then.
    Piecemeal,
    /// Some bytes, then an error.
    Breaks(ErrorKind),
    /// Some bytes, then no more.
    Full,
}

struct Peculiar<'t> {
    tray: &'t mut Tray,
    manner: Manner,
    polls: usize,
    /// Whether it was flushed or closed.
    meddled: bool,
}

impl AsyncWrite for Peculiar<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.polls += 1;
        let now = bytes.len().min(1 + self.polls % 7);
        match self.manner {
            Manner::Piecemeal if self.polls.is_multiple_of(3) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Manner::Breaks(kind) if self.tray.taken() >= 100 => return Poll::Ready(Err(kind.into())),
            Manner::Full if self.tray.taken() >= 100 => return Poll::Ready(Ok(0)),
            _ => {}
        }
        self.tray.take(&bytes[..now]);
        Poll::Ready(Ok(now))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.meddled = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.meddled = true;
        Poll::Ready(Ok(()))
    }
}

pub async fn errors(cx: &Check) -> Outcome {
    let (cfg, runtime) = (settings(cx), Handle::current());
    let kind = cx.draw(
        "error",
        &[
            ErrorKind::BrokenPipe,
            ErrorKind::ConnectionReset,
            ErrorKind::StorageFull,
        ],
    );
    let judged = aside("a thread with clients that fail", move || {
        for len in [1 << 10, 10 << 10, 100 << 10] {
            let doc = traffic::doc(1, len);
            let mut tray = Tray::of(&doc);
            for (manner, expected) in [
                (Manner::Piecemeal, None),
                (Manner::Breaks(kind), Some(kind)),
                (Manner::Full, Some(ErrorKind::WriteZero)),
            ] {
                // Its own each time: what becomes of memory after an error is another check's.
                let render = renderer(&cfg);
                tray.expect(&doc);
                let mut client = Peculiar {
                    tray: &mut tray,
                    manner,
                    polls: 0,
                    meddled: false,
                };
                let said = runtime.block_on(render.respond(&doc.req, &mut client));
                ensure!(
                    !client.meddled,
                    "Flushing and closing are the caller's business: it may have more to send, in the same segment, on the same \
                     connection.",
                    "a client's writer was flushed, or closed"
                );
                match expected {
                    None => tray.holds(said)?,
                    Some(kind) => answered(&format!("a client's connection ({manner:?})"), said, kind)?,
                }
                tray.holds_a_part()?;
            }
            for after in [0, 1] {
                sink_fails(&renderer(&cfg), &doc, kind, after)?;
            }
        }
        Ok(())
    });
    judged.join(WAITS)
}

/// What a sink puts into its error.
#[derive(Debug, PartialEq)]
struct Reason(usize);

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no more after {} pieces", self.0)
    }
}

impl std::error::Error for Reason {}

/// The sink takes `after` pieces and refuses the next; a body that comes in fewer pieces is taken.
fn sink_fails(render: &Render, doc: &Arc<Doc>, kind: ErrorKind, after: usize) -> Outcome {
    let mut tray = Tray::of(doc);
    let (mut pieces, mut asked_again) = (0, false);
    let said = render.render_into(&doc.req, &mut |piece| {
        pieces += 1;
        if pieces == after + 1 {
            return Err(io::Error::new(kind, Reason(after)));
        }
        asked_again |= pieces > after;
        tray.take(piece);
        Ok(())
    });
    if pieces > after {
        ensure!(
            !asked_again,
            "A sink's error ends the rendering.",
            "a sink failed with {kind:?}, and was given more"
        );
        tray.holds_a_part()?;
        let own = matches!(&said, Err(RenderError::Io(error))
            if error.get_ref().and_then(|reason| reason.downcast_ref()) == Some(&Reason(after)));
        answered("a sink", said, kind)?;
        ensure!(
            own,
            "An error of the same kind is not the error itself: what its maker put into it is lost on the way.",
            "a sink failed with an error of its own making, and its caller was told another one"
        );
        return Ok(());
    }
    tray.holds(said)
}

fn answered(who: &str, said: Result<usize, RenderError>, kind: ErrorKind) -> Outcome {
    let same = matches!(&said, Err(RenderError::Io(error)) if error.kind() == kind);
    ensure!(
        same,
        "Whoever asked learns that the body was not taken, and why: as RenderError::Io, with the error itself.",
        "{who} failed with {kind:?}, and its caller was told {said:?}"
    );
    Ok(())
}
