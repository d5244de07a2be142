//! What typical documents cost, in a sink and in flight.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll};

use buffer_churn_hidden::subject::Render;
use buffer_churn_hidden::traffic::{self, Doc, SHORTEST};
use harness::{Check, Failure, Outcome};
use tokio::io::AsyncWrite;
use tokio::runtime::Handle;

use crate::cost::{self, Cost, counted, renderer, settings};
use crate::meeting::{Aside, Meeting, WAITS, aside, join_all};
use crate::standstill;
use crate::tray::{Tray, rendered, sent};

const THREADS: usize = 4;
const DOCS: usize = 8;

/// Threads that do the same in windows, each window begun and ended together with the check.
struct Crew {
    meeting: Arc<Meeting>,
    over: Arc<AtomicBool>,
    threads: Vec<Aside<()>>,
}

impl Crew {
    /// `lane` is made once on each thread, with the thread's number, and then runs each window.
    fn start<L>(make: impl Fn(usize) -> L + Clone + Send + 'static) -> Crew
    where
        L: FnMut() -> Outcome,
    {
        let (meeting, over) = (Meeting::of(THREADS + 1), Arc::new(AtomicBool::new(false)));
        let threads = (0..THREADS)
            .map(|n| {
                let (meeting, over, make) = (Arc::clone(&meeting), Arc::clone(&over), make.clone());
                aside("a thread that renders typical documents", move || {
                    let mut lane = make(n);
                    loop {
                        meeting.wait()?;
                        if over.load(SeqCst) {
                            return Ok(());
                        }
                        lane()?;
                        meeting.wait()?;
                    }
                })
            })
            .collect();
        Crew {
            meeting,
            over,
            threads,
        }
    }

    /// The cost of a document, `documents` of them on each thread in each window.
    fn cost(self, documents: usize) -> Result<Cost, Failure> {
        let (meeting, over) = (self.meeting, self.over);
        let counting = aside("the count of a window", move || {
            // Everybody stands still when a window begins and when it has ended: waiting allocates nothing.
            let cost = cost::cost(THREADS * documents, || {
                counted(|| meeting.wait().and_then(|()| meeting.wait()))
            });
            over.store(true, SeqCst);
            meeting.wait().and(cost)
        });
        join_all(self.threads, WAITS)?;
        counting.join(WAITS)
    }
}

/// Documents of one thread, all of the same length, each of a tenant of its own.
fn docs(thread: usize, len: usize) -> Vec<Arc<Doc>> {
    (0..DOCS)
        .map(|n| traffic::doc(1000 + thread * DOCS + n, len))
        .collect()
}

/// Every thread is in its sink at the same time: memory for all of them is there afterwards, if it is kept at all.
fn all_at_once(render: &Render, doc: &Doc, all: &Meeting) -> Outcome {
    let mut met = None;
    let said = render.render_into(&doc.req, &mut |_| {
        if met.is_none() {
            met = Some(all.wait());
        }
        Ok(())
    });
    met.unwrap_or(Ok(()))?;
    said.map(drop)
        .map_err(|error| Failure::new(format!("a document was answered with an error: {error}")))
}

/// Renders into sinks in windows, on threads of its own.
fn rendering(render: &Arc<Render>, len: usize, documents: usize) -> Result<Cost, Failure> {
    let (render, all) = (Arc::clone(render), Meeting::of(THREADS));
    let crew = Crew::start(move |thread| {
        let (render, all, docs) = (Arc::clone(&render), Arc::clone(&all), docs(thread, len));
        let mut tray = Tray::of(&docs[0]);
        let mut met = false;
        move || {
            if !std::mem::replace(&mut met, true) {
                all_at_once(&render, &docs[0], &all)?;
            }
            (0..documents).try_for_each(|n| rendered(&render, &docs[n % DOCS], &mut tray))
        }
    });
    crew.cost(documents)
}

pub async fn typical_documents(cx: &Check) -> Outcome {
    const DOCUMENTS: usize = 2000;
    let cfg = settings(cx);
    let len = cfg.typical - cx.draw("bytes below typical", &[24, 100, 300]);
    let cost = rendering(&renderer(&cfg), len, DOCUMENTS)?;
    cx.measure("allocations_per_document", cost.allocations);
    // A document with a sixth of the rows, a tenth as long: parts are a sixth, doublings of memory that grows more than half.
    let mut evidence = vec![told(cost, len)];
    let mut made_anew = cost.allocations <= 1.5;
    if !made_anew {
        let short = rendering(&renderer(&cfg), SHORTEST, DOCUMENTS)?;
        made_anew = short.allocations > cost.allocations * 0.52;
        evidence.push(told(short, SHORTEST));
    }
    let because = if made_anew {
        "Memory is made anew for each body: asked for by each document, or given back empty (`mem::take`), which reuses the \
         object and not what it holds. A capacity that fits saves growing, not allocating."
    } else {
        "Parts of a body are made as values of their own, only to be copied into it: `format!`, `to_vec` and `to_string` \
         allocate each time, whatever becomes of the memory that they are written to."
    };
    cx.explain("allocations_per_document", because, evidence);
    Ok(())
}

fn told(cost: Cost, len: usize) -> String {
    format!(
        "{:.2} allocations and {:.0} bytes for a body of {len} bytes, on {THREADS} threads that had rendered before",
        cost.allocations, cost.bytes
    )
}

/// Responses that overlap: none is over before a later one has begun, so there is always one on its way when a document is
/// rendered.
struct Relay {
    window: u64,
    /// Documents that were handed out.
    taken: AtomicU64,
    /// Responses whose clients have taken their first bytes.
    begun: AtomicU64,
}

impl Relay {
    fn of(window: usize) -> Arc<Relay> {
        Arc::new(Relay {
            window: window as u64,
            taken: AtomicU64::new(0),
            begun: AtomicU64::new(0),
        })
    }

    /// The number of the next document of window `window`, while there is one.
    fn next(&self, window: u64) -> Option<u64> {
        let more = |taken| (taken < (window + 1) * self.window).then_some(taken + 1);
        self.taken.fetch_update(SeqCst, SeqCst, more).ok()
    }

    /// One more has begun. Waits for the one after it, unless it is the last of a window.
    fn begin(&self) -> Outcome {
        let mine = self.begun.fetch_add(1, SeqCst) + 1;
        standstill::ring();
        if mine.is_multiple_of(self.window) {
            return Ok(());
        }
        let another = || (self.begun.load(SeqCst) > mine).then_some(());
        standstill::until(another).map_err(|why| {
            Failure::new(format!("no other response began while one was on its way; {why}")).because(WAITS)
        })
    }
}

/// A client of the relay.
struct Runner {
    tray: Tray,
    relay: Arc<Relay>,
    begun: Option<Outcome>,
}

impl AsyncWrite for Runner {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.tray.taken() == 0 {
            let now = bytes.len().min(100);
            self.tray.take(&bytes[..now]);
            return Poll::Ready(Ok(now));
        }
        if self.begun.is_none() {
            // Blocks its thread, which has nothing else to do.
            let begun = self.relay.begin();
            let alone = begun.is_err();
            self.begun = Some(begun);
            if alone {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        Pin::new(&mut self.tray).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Runner {
    async fn sent(&mut self, render: &Render, doc: &Arc<Doc>) -> Outcome {
        self.tray.expect(doc);
        self.begun = None;
        let said = render.respond(&doc.req, self).await;
        self.begun.take().unwrap_or(Ok(()))?;
        self.tray.holds(said)
    }
}

pub async fn responses_in_flight(cx: &Check) -> Outcome {
    const DOCUMENTS: usize = 250;
    let cfg = settings(cx);
    let len = cfg.typical - cx.draw("bytes below typical", &[24, 100, 300]);
    let render = renderer(&cfg);
    let rendering = rendering(&render, len, DOCUMENTS)?;
    let (runtime, relay) = (Handle::current(), Relay::of(THREADS * DOCUMENTS));
    let crew = Crew::start(move |thread| {
        let (render, runtime, docs) = (Arc::clone(&render), runtime.clone(), docs(thread, len));
        let mut runner = Runner {
            tray: Tray::of(&docs[0]),
            relay: Arc::clone(&relay),
            begun: None,
        };
        let mut window = 0;
        move || {
            runtime.block_on(async {
                // Each thread has sent something before it is counted.
                if window == 0 {
                    sent(&render, &docs[0], &mut runner.tray).await?;
                }
                while let Some(n) = runner.relay.next(window) {
                    runner.sent(&render, &docs[n as usize % DOCS]).await?;
                }
                window += 1;
                Ok(())
            })
        }
    });
    let responding = crew.cost(DOCUMENTS)?;
    let beyond = (responding.allocations - rendering.allocations).max(0.0);
    cx.measure("allocations_per_response_in_flight", beyond);
    let evidence = [
        format!("responding: {}", told(responding, len)),
        format!("only rendering: {}", told(rendering, len)),
    ];
    cx.explain(
        "allocations_per_response_in_flight",
        "Responses in flight keep the block that they were cut from, so reserve() allocates a new one: `split().freeze()` \
         shares memory, and shared memory cannot be used again.",
        evidence,
    );
    Ok(())
}
