//! Many large bodies at one time, and what is left of them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use buffer_churn_hidden::subject::{Render, RenderCfg, RenderError};
use buffer_churn_hidden::traffic::{self, Doc, SHORTEST};
use harness::{Check, Failure, Outcome, alloc};
use tokio::runtime::Handle;

use crate::cost::{MAY_KEEP, kib, renderer, settings};
use crate::meeting::{Aside, Meeting, WAITS, aside, join_all};
use crate::tray::{Client, Gate, Tray, sent};

const MIB: usize = 1 << 20;
const LARGE: usize = 64;
const MEDIUM: usize = 512;
const SMALL: usize = 10_000;
const FULL: usize = 64;

/// What just fits a buffer that doubles.
fn medium_len(cfg: &RenderCfg) -> usize {
    cfg.max_retained * 31 / 64
}

/// Fits itself, but not once its buffer has doubled: there is one long text, and a little behind it.
fn full_len(cfg: &RenderCfg) -> usize {
    cfg.max_retained * 31 / 32
}

/// As many tenants share the medium bodies.
const TENANTS: usize = 128;

/// Threads with sinks, beside the one with clients.
const SINKS: usize = 4;

pub async fn given_back(cx: &Check) -> Outcome {
    let cfg = settings(cx);
    let docs = Docs {
        large: vec![traffic::doc(1, 8 * MIB)],
        medium: (0..TENANTS)
            .map(|n| traffic::doc(100 + n, medium_len(&cfg)))
            .collect(),
        full: vec![traffic::doc(2, full_len(&cfg))],
        small: traffic::doc(3, SHORTEST + 100),
    };
    let (meeting, peak) = (Meeting::of(SINKS + 2), Meeting::of(SINKS + 1));
    let before = alloc::settled().await;
    let render = renderer(&cfg);
    let mut crew: Vec<_> = (0..SINKS)
        .map(|_| with_sinks(&render, &docs, &meeting, &peak))
        .collect();
    crew.push(with_clients(&render, &docs, &meeting, &peak));
    let runtime = Handle::current();
    let measuring = aside("what measures a burst", move || {
        runtime.block_on(measured(&meeting, before))
    });
    join_all(crew, WAITS)?;
    judge(cx, &cfg, measuring.join(WAITS)?);
    Ok(())
}

#[derive(Clone)]
struct Docs {
    large: Vec<Arc<Doc>>,
    medium: Vec<Arc<Doc>>,
    full: Vec<Arc<Doc>>,
    small: Arc<Doc>,
}

/// What is held after each part. The threads live on meanwhile: what belongs to them counts.
async fn measured(meeting: &Meeting, before: alloc::Heap) -> Result<[i64; 4], Failure> {
    let mut kept = [0; 4];
    for kept in &mut kept {
        meeting.wait()?;
        *kept = (alloc::settled().await - before).live_bytes;
        meeting.wait()?;
    }
    Ok(kept)
}

fn judge(cx: &Check, cfg: &RenderCfg, [large, full, medium, last]: [i64; 4]) {
    cx.measure("kept_after_a_burst_bytes", last as f64);
    // Where the number is bounded, a crowd of smaller bodies finds what the large ones left, or is not kept.
    let crowd = (MEDIUM - LARGE) as i64 * medium_len(cfg) as i64;
    let because = if large > MAY_KEEP && medium - full > crowd / 2 {
        "A burst's peak stays for ever: as much is kept as was ever in use at one time. A pool needs a bound."
    } else if large > MAY_KEEP {
        "The number of idle buffers is bounded and their size is not: 64 bodies of 8 MiB may leave 8 MiB in each of them. \
         What counts is the capacity, not the length."
    } else if full > MAY_KEEP {
        "What a buffer holds is its capacity, whatever the length of the body that stood in it: these bodies fit into \
         `max_retained`, and the buffers in which they were written have outgrown it."
    } else {
        "Each buffer is small enough and nobody counts them, or each thread counts its own: as many are kept as were ever in \
         use at one time."
    };
    let evidence = [
        format!("{} held after {LARGE} bodies of 8 MiB at one time", kib(large)),
        format!(
            "{} held after {FULL} bodies of {} bytes",
            kib(full),
            full_len(cfg)
        ),
        format!(
            "{} held after {MEDIUM} bodies of {} bytes",
            kib(medium),
            medium_len(cfg)
        ),
        format!(
            "{} held after {SMALL} small ones; max_idle {}, max_retained {}",
            kib(last),
            cfg.max_idle,
            cfg.max_retained
        ),
    ];
    cx.explain("kept_after_a_burst_bytes", because, evidence);
}

/// Holds a body in its sink while everybody else does; then renders many small ones.
fn with_sinks(render: &Arc<Render>, docs: &Docs, meeting: &Arc<Meeting>, peak: &Arc<Meeting>) -> Aside<()> {
    let (render, docs) = (Arc::clone(render), docs.clone());
    let (meeting, peak) = (Arc::clone(meeting), Arc::clone(peak));
    aside("a thread with a burst in its sink", move || {
        for docs in [&docs.large, &docs.full, &docs.medium] {
            let mut met = None;
            let said = render.render_into(&docs[0].req, &mut |_| {
                if met.is_none() {
                    met = Some(peak.wait());
                }
                Ok(())
            });
            met.unwrap_or(Ok(()))?;
            answered(said)?;
            rest(&meeting)?;
        }
        for _ in 0..SMALL / (SINKS + 1) {
            answered(render.render_into(&docs.small.req, &mut |_| Ok(())))?;
        }
        rest(&meeting)
    })
}

/// All the other bodies of a burst are on their way to clients of one thread.
fn with_clients(render: &Arc<Render>, docs: &Docs, meeting: &Arc<Meeting>, peak: &Arc<Meeting>) -> Aside<()> {
    let (render, docs, runtime) = (Arc::clone(render), docs.clone(), Handle::current());
    let (meeting, peak) = (Arc::clone(meeting), Arc::clone(peak));
    aside("a thread with a burst of clients", move || {
        runtime.block_on(sent_together(&render, &docs.large, LARGE - SINKS, &peak))?;
        rest(&meeting)?;
        runtime.block_on(sent_together(&render, &docs.full, FULL - SINKS, &peak))?;
        rest(&meeting)?;
        runtime.block_on(sent_together(&render, &docs.medium, MEDIUM - SINKS, &peak))?;
        rest(&meeting)?;
        let mut tray = Tray::of(&docs.small);
        for _ in 0..SMALL / (SINKS + 1) {
            runtime.block_on(sent(&render, &docs.small, &mut tray))?;
        }
        drop(tray);
        rest(&meeting)
    })
}

/// `count` clients have taken the first bytes of a large body when any is sent the rest; each body is what it must be.
async fn sent_together(render: &Render, docs: &[Arc<Doc>], count: usize, peak: &Meeting) -> Outcome {
    let gate = Gate::new();
    let mut responses: Vec<_> = (0..count)
        .map(|n| {
            let (gate, doc) = (Arc::clone(&gate), &docs[n % docs.len()]);
            Box::pin(async move {
                let mut client = Client::of(doc, &gate, 100);
                let said = render.respond(&doc.req, &mut client).await;
                client.tray.holds(said)
            })
        })
        .collect();
    let mut ended = Ok(());
    poll_fn(|cx| {
        for response in &mut responses {
            if let Poll::Ready(early) = response.as_mut().poll(cx) {
                // No client has taken all of its body yet.
                ended = early.and(Err(Failure::new(
                    "a response was over before its client had taken its body",
                )));
                return Poll::Ready(());
            }
        }
        if gate.reached() == count {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
    ended?;
    peak.wait()?;
    gate.open();
    for response in responses {
        response.await?;
    }
    Ok(())
}

/// What is in a short body after a long one is another check's business.
fn answered(said: Result<usize, RenderError>) -> Outcome {
    said.map(drop)
        .map_err(|error| Failure::new(format!("a document was answered with an error: {error}")))
}

/// Everybody stands still while it is measured.
fn rest(meeting: &Meeting) -> Outcome {
    meeting.wait()?;
    meeting.wait()
}
