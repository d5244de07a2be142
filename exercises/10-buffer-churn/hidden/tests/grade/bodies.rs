//! Every byte of every body.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use buffer_churn_hidden::subject::{Live, Render, RenderCfg, Row};
use buffer_churn_hidden::traffic::{self, Doc, SHORTEST};
use harness::{Check, Failure, Outcome, ensure};
use tokio::runtime::Handle;

use crate::cost::{self, THREADS_MAX, counted, renderer, settings};
use crate::meeting::{Meeting, WAITS, aside, join_all};
use crate::tray::{FORMAT, Tray, rendered, sent};

/// Awkward documents, short ones first.
fn awkward() -> Vec<Arc<Doc>> {
    let row = |sku: &str, text: &str, qty, price_cents| Row {
        sku: sku.into(),
        text: text.into(),
        qty,
        price_cents,
    };
    let controls: String = (0..=0x20).map(char::from).collect();
    let mut docs = vec![
        traffic::plain(1, Vec::new()),
        traffic::plain(2, vec![Row::default()]),
        traffic::plain(
            3,
            vec![row("", "\"\\/\u{7f}", 0, 7), row("ß→𝄞", "\u{2028}", 3, 100)],
        ),
        traffic::plain(
            4,
            vec![row(&controls, &controls, u32::MAX, 99), row("x", "y", 1, 1 << 60)],
        ),
    ];
    let counted = Arc::new(AtomicU64::new(40));
    let next = Arc::clone(&counted);
    let live = vec![
        Live::new("rate \"spot\"", || Ok(0)),
        Live::new("queue", || Ok(u64::MAX)),
        Live::new("reads", move || Ok(next.fetch_add(1, SeqCst))),
    ];
    docs.push(traffic::with_live(5, 400, live, &[0, u64::MAX, 40]));
    docs.push(traffic::plain(
        6,
        (0..5000).map(|n| row("many", "rows", n, 3)).collect(),
    ));
    docs
}

pub async fn every_document(cx: &Check) -> Outcome {
    let cfg = settings(cx);
    // First: who looks twice also gets the bytes wrong.
    let wrong = read_anew(&renderer(&cfg))?;
    let sizes = [SHORTEST, 1 << 10, 10 << 10, 100 << 10, 1 << 20, 8 << 20];
    let grown: Vec<_> = sizes
        .iter()
        .enumerate()
        .map(|(n, len)| traffic::doc(n, *len))
        .collect();
    for responds in [false, true] {
        let mut docs = awkward();
        docs.sort_by_key(|doc| doc.body.len());
        for docs in [&docs, &grown] {
            // A renderer that has rendered nothing longer yet: what it makes of memory that it has used is another check's.
            let render = renderer(&cfg);
            let mut tray = Tray::of(&docs[0]);
            for doc in docs {
                if responds {
                    sent(&render, doc, &mut tray).await?;
                } else {
                    rendered(&render, doc, &mut tray)?;
                }
            }
            // For the dashboard only; it may say anything, but it answers.
            let _ = render.idle_bytes();
        }
    }
    match wrong {
        Some(told) => Err(Failure::new(told).because(FORMAT)),
        None => Ok(()),
    }
}

/// A live value is looked up once per body, and again for the next one. Returns what is wrong with a body besides.
fn read_anew(render: &Render) -> Result<Option<String>, Failure> {
    let reads = Arc::new(AtomicU64::new(10));
    let next = Arc::clone(&reads);
    let live = Live::new("reads", move || Ok(next.fetch_add(1, SeqCst)));
    let doc = traffic::with_live(7, 300, vec![live], &[10]);
    let mut wrong = None;
    for n in 10..13 {
        let body = traffic::body(&doc.req, &[n]);
        let mut got = Vec::new();
        let said = render.render_into(&doc.req, &mut |piece| {
            got.extend_from_slice(piece);
            Ok(())
        });
        said.map_err(|error| Failure::new(format!("a document was answered with an error: {error}")))?;
        let asked = reads.load(SeqCst) - 10;
        ensure!(
            asked == n - 9,
            "A live value is looked up once for each body, when it is rendered.",
            "the value was {n} when body {} was rendered, and it was asked for {asked} times by then: {}",
            n - 9,
            String::from_utf8_lossy(&got).trim_end()
        );
        if got != body {
            let told = |body: &[u8]| String::from_utf8_lossy(body).trim_end().to_owned();
            wrong.get_or_insert(format!("{} instead of {}", told(&got), told(&body)));
        }
    }
    Ok(wrong)
}

pub async fn on_every_thread(cx: &Check) -> Outcome {
    const ROUNDS: usize = 10_000;
    let cfg = settings(cx);
    let (render, start) = (renderer(&cfg), Meeting::of(THREADS_MAX));
    let crew = (0..THREADS_MAX)
        .map(|thread| {
            let (render, start, runtime) = (Arc::clone(&render), Arc::clone(&start), Handle::current());
            let mut rng = cx.rng(&format!("lengths of thread {thread}"));
            aside("a thread that renders documents of all lengths", move || {
                let docs: Vec<_> = (0..24)
                    .map(|n| traffic::doc(thread * 100 + n, length(&mut rng, 12)))
                    .collect();
                let mut tray = Tray::of(&docs[0]);
                start.wait()?;
                runtime.block_on(async {
                    for _ in 0..ROUNDS {
                        let doc = &docs[rng.usize(..docs.len())];
                        if rng.u8(..4) == 0 {
                            sent(&render, doc, &mut tray).await?;
                        } else {
                            rendered(&render, doc, &mut tray)?;
                        }
                    }
                    Ok(())
                })
            })
        })
        .collect();
    join_all(crew, WAITS).map(drop)
}

/// From the shortest up to 2 to the power of `most`, short ones as often as long ones.
fn length(rng: &mut fastrand::Rng, most: u32) -> usize {
    let longest = (SHORTEST << 1) << rng.u32(..most - 7);
    rng.usize(SHORTEST..=longest).min(1 << most)
}

pub async fn short_after_long(cx: &Check) -> Outcome {
    let cfg = settings(cx);
    let render = renderer(&cfg);
    secrets(&render, [10 << 10, 100 << 10])?;
    measure_mixed(cx, &cfg)
}

/// Long documents here, short ones here and on other threads, both ways of having them rendered.
fn secrets(render: &Arc<Render>, secrets: [usize; 2]) -> Outcome {
    const THREADS: usize = 3;
    let meeting = Meeting::of(THREADS);
    let crew = (0..THREADS)
        .map(|thread| {
            let (render, meeting, runtime) = (Arc::clone(render), Arc::clone(&meeting), Handle::current());
            aside(
                "a thread that renders short documents after long ones",
                move || {
                    let secrets = secrets.map(|len| traffic::doc(9000 + thread, len));
                    let short: Vec<_> = (0..20)
                        .map(|n| traffic::doc(thread * 20 + n, SHORTEST + 13 * n))
                        .collect();
                    let mut tray = Tray::of(&short[0]);
                    for round in 0..40 {
                        // Everybody's secret first, so that what is shared has seen one.
                        let secret = &secrets[usize::from(round % 8 == 7)];
                        if round % 2 == 0 {
                            rendered(&render, secret, &mut tray)?;
                        } else {
                            runtime.block_on(sent(&render, secret, &mut tray))?;
                        }
                        meeting.wait()?;
                        for (n, doc) in short.iter().enumerate() {
                            if (n + round) % 3 == 0 {
                                runtime.block_on(sent(&render, doc, &mut tray))?;
                            } else {
                                rendered(&render, doc, &mut tray)?;
                            }
                        }
                        meeting.wait()?;
                    }
                    Ok(())
                },
            )
        })
        .collect();
    join_all(crew, WAITS).map(drop)
}

fn measure_mixed(cx: &Check, cfg: &RenderCfg) -> Outcome {
    const DOCUMENTS: usize = 500;
    let (render, mut rng) = (renderer(cfg), cx.rng("lengths of the mix"));
    // What is written to memory that grows by doubling ends in at most twice its length.
    let longest = cfg.max_retained / 2;
    let most = longest.ilog2();
    let mixed = aside("a thread that renders a mix of lengths", move || {
        let docs: Vec<_> = (0..64)
            .map(|n| traffic::doc(n, if n == 0 { longest } else { length(&mut rng, most) }))
            .collect();
        let mut tray = Tray::of(&docs[0]);
        cost::cost(DOCUMENTS, || {
            counted(|| (0..DOCUMENTS).try_for_each(|n| rendered(&render, &docs[n % docs.len()], &mut tray)))
        })
    });
    let cost = mixed.join(WAITS)?;
    cx.measure("allocated_per_mixed_document", cost.bytes);
    cx.explain(
        "allocated_per_mixed_document",
        "Memory that is made smaller after each document has to grow again for the next: shrink only what has grown beyond \
         what you are willing to keep.",
        [format!(
            "{:.2} allocations and {:.0} bytes per document, lengths from {SHORTEST} to {longest} bytes in a mix",
            cost.allocations, cost.bytes
        )],
    );
    Ok(())
}
