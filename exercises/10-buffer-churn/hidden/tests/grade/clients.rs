//! Clients that are slow, that leave, and that are many.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use buffer_churn_hidden::subject::{Render, RenderCfg};
use buffer_churn_hidden::traffic::{self, Doc, SHORTEST};
use harness::{Check, Failure, Outcome, alloc, ensure};
use tokio::runtime::Handle;

use crate::cost::{MAY_KEEP, kib, renderer, settings};
use crate::failures::{Aftermath, Way};
use crate::meeting::{Meeting, WAITS, aside, join_all};
use crate::tray::{Client, Gate, Tray, rendered, sent};

/// Documents of others, for as long as somebody's body is on its way. Those that are rendered into a sink are all of one
/// length: what a short body finds after a long one is another check's business.
struct Others {
    render: Arc<Render>,
    rendered: Vec<Arc<Doc>>,
    sent: Vec<Arc<Doc>>,
    tray: Tray,
}

const LENGTH: usize = 3000;

impl Others {
    fn of(thread: usize, render: &Arc<Render>) -> Others {
        let number = thread * 20;
        let rendered: Vec<_> = (0..6).map(|n| traffic::doc(number + n, LENGTH)).collect();
        let lengths = [LENGTH, SHORTEST, 900, 10 << 10, 2000, 100 << 10];
        Others {
            render: Arc::clone(render),
            tray: Tray::of(&rendered[0]),
            rendered,
            sent: (number + 6..)
                .zip(lengths)
                .map(|(n, len)| traffic::doc(n, len))
                .collect(),
        }
    }

    /// Renders `count` documents, each as it must be.
    async fn go_on(&mut self, count: usize) -> Outcome {
        for n in 0..count {
            let which = n / 2 % self.rendered.len();
            if n % 2 == 0 {
                rendered(&self.render, &self.rendered[which], &mut self.tray)?;
            } else {
                sent(&self.render, &self.sent[which], &mut self.tray).await?;
            }
        }
        Ok(())
    }

    /// Holds a body in a sink until everybody has come to the next meeting.
    fn hold(&mut self, meeting: &Meeting) -> Outcome {
        let (doc, tray) = (&self.rendered[0], &mut self.tray);
        let mut met = None;
        tray.expect(doc);
        let said = self.render.render_into(&doc.req, &mut |piece| {
            if met.is_none() {
                met = Some(meeting.wait().and_then(|()| meeting.wait()));
            }
            tray.take(piece);
            Ok(())
        });
        met.unwrap_or(Ok(()))?;
        self.tray.holds(said)
    }
}

pub async fn slow(cx: &Check) -> Outcome {
    let cfg = settings(cx);
    let first = cx.draw("bytes that a slow client takes", &[1, 100, 180]);
    let (runtime, render) = (Handle::current(), renderer(&cfg));
    // Slow clients are held from the first meeting to the second, and a slow sink from there to the third and fourth.
    let meeting = Meeting::of(3);
    let mut crew: Vec<_> = (0..2)
        .map(|thread| {
            let (render, runtime, meeting) = (Arc::clone(&render), runtime.clone(), Arc::clone(&meeting));
            aside("a thread beside slow clients", move || {
                let mut others = Others::of(thread, &render);
                meeting.wait()?;
                runtime.block_on(others.go_on(300))?;
                meeting.wait()?;
                if thread == 0 {
                    return others.hold(&meeting);
                }
                meeting.wait()?;
                runtime.block_on(others.go_on(300))?;
                meeting.wait()
            })
        })
        .collect();
    crew.push(aside("the thread with the slow clients", move || {
        runtime.block_on(beside_slow_clients(&render, first, &meeting))?;
        meeting.wait()?;
        runtime.block_on(Others::of(3, &render).go_on(300))?;
        meeting.wait()
    }));
    join_all(crew, WAITS).map(drop)
}

/// Three clients wait in the middle of their bodies while a thousand documents of others are rendered on their thread.
async fn beside_slow_clients(render: &Arc<Render>, first: usize, meeting: &Meeting) -> Outcome {
    let gate = Gate::new();
    let docs =
        [(9000, LENGTH), (9001, 10 << 10), (9002, 100 << 10)].map(|(tenant, len)| traffic::doc(tenant, len));
    let responses = docs.each_ref().map(|doc| {
        let gate = &gate;
        async move {
            let mut client = Client::of(doc, gate, first);
            let said = render.respond(&doc.req, &mut client).await;
            client.tray.holds(said)
        }
    });
    let [a, b, c] = responses;
    let (mut a, mut b, mut c) = (pin!(a), pin!(b), pin!(c));
    until_it_waits(a.as_mut(), &gate, 1).await?;
    until_it_waits(b.as_mut(), &gate, 2).await?;
    until_it_waits(c.as_mut(), &gate, 3).await?;
    meeting.wait()?;
    Others::of(2, render).go_on(1000).await?;
    meeting.wait()?;
    gate.open();
    a.await.and(b.await).and(c.await)
}

/// Runs a response until its client has taken its first bytes and waits, the number `waiting` to do so.
async fn until_it_waits<T: std::fmt::Debug>(
    mut response: Pin<&mut impl Future<Output = T>>,
    gate: &Gate,
    waiting: usize,
) -> Outcome {
    let waits = poll_fn(|cx| match response.as_mut().poll(cx) {
        Poll::Ready(said) => Poll::Ready(Some(said)),
        Poll::Pending if gate.reached() >= waiting => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    let said = waits.await;
    ensure!(
        said.is_none(),
        "A response is over when its client has taken all of it.",
        "a client had taken a part of its body, and its response was already answered with {said:?}"
    );
    Ok(())
}

const FORGOTTEN: &str = "A dropped future runs no line after its await, only destructors: what it had taken has to come back \
                         by Drop.";

pub async fn leaving(cx: &Check) -> Outcome {
    let (cfg, runtime) = (settings(cx), Handle::current());
    let judged = aside("a thread with clients that leave", move || {
        runtime.block_on(many_leave(&renderer(&cfg)))?;
        for (first, way) in [
            (0, Way::Responding),
            (100, Way::Responding),
            (100, Way::Rendering),
        ] {
            let render = renderer(&cfg);
            let (typical, other) = (
                traffic::doc(1, cfg.typical - 100),
                traffic::doc(2, cfg.typical - 100),
            );
            let mut tray = Tray::of(&typical);
            Aftermath::measure(
                || runtime.block_on(leaves(&render, &other, first)),
                || way.ask(&render, &runtime, &typical, &mut tray),
            )?
            .judge("one whose client had left", FORGOTTEN)?;
        }
        Ok(())
    });
    judged.join(WAITS)
}

/// A response is dropped when its client has taken `first` bytes.
async fn leaves(render: &Render, doc: &Arc<Doc>, first: usize) -> Outcome {
    let gate = Gate::new();
    let mut client = Client::of(doc, &gate, first);
    until_it_waits(pin!(render.respond(&doc.req, &mut client)), &gate, 1).await?;
    client.tray.holds_a_part()
}

/// A thousand clients leave in the middle of their bodies; others are not sent their bytes, and nothing of them is kept.
async fn many_leave(render: &Arc<Render>) -> Outcome {
    const LEAVE: usize = 1000;
    let mut others = Others::of(0, render);
    let secrets: Vec<_> = [10 << 10, SHORTEST, 40 << 10, 1000]
        .into_iter()
        .zip(8000..)
        .map(|(len, tenant)| traffic::doc(tenant, len))
        .collect();
    others.go_on(24).await?;
    let before = alloc::settled().await;
    for n in 0..LEAVE {
        let doc = &secrets[n % secrets.len()];
        leaves(render, doc, [0, 1, 100, doc.body.len() - 1][n / 4 % 4]).await?;
        others.go_on(4).await?;
    }
    let kept = (alloc::settled().await - before).live_bytes;
    ensure!(
        kept <= MAY_KEEP,
        FORGOTTEN,
        "{} more are held after {LEAVE} clients left before they had taken all of their bodies",
        kib(kept)
    );
    Ok(())
}

pub async fn a_thousand(cx: &Check) -> Outcome {
    const CLIENTS: usize = 1000;
    let cfg = RenderCfg {
        max_idle: cx.draw("few are kept", &[1, 2, 3]),
        ..settings(cx)
    };
    let render = renderer(&cfg);
    let gate = Gate::new();
    let docs: Vec<_> = (0..50).map(|n| traffic::doc(n, LENGTH)).collect();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let (render, doc, gate) = (
                Arc::clone(&render),
                Arc::clone(&docs[n % docs.len()]),
                Arc::clone(&gate),
            );
            tokio::spawn(async move {
                let mut client = Client::of(&doc, &gate, 100);
                let said = render.respond(&doc.req, &mut client).await;
                client.tray.holds(said)
            })
        })
        .collect();
    let waiting = {
        let gate = Arc::clone(&gate);
        aside("a thousand slow clients", move || Ok(gate.until(CLIENTS)))
    };
    let waiting = waiting.join(WAITS)?;
    ensure!(
        waiting.is_ok(),
        WAITS,
        "{} of {CLIENTS} slow clients were sent anything, the others waited for them; {}",
        gate.reached(),
        waiting.err().unwrap_or_default()
    );
    gate.open();
    for client in clients {
        let holds = client.await;
        holds.map_err(|error| Failure::new(format!("a response did not end as it should: {error}")))??;
    }
    at_once(&render, &docs)
}

/// As many sinks as one likes are at work at the same time.
fn at_once(render: &Arc<Render>, docs: &[Arc<Doc>]) -> Outcome {
    const SINKS: usize = 32;
    let meeting = Meeting::of(SINKS);
    let crew = (0..SINKS)
        .map(|n| {
            let (render, doc, meeting) = (Arc::clone(render), Arc::clone(&docs[n]), Arc::clone(&meeting));
            aside("a thread with a slow sink", move || {
                let mut tray = Tray::of(&doc);
                let mut met = None;
                let said = render.render_into(&doc.req, &mut |piece| {
                    if met.is_none() {
                        met = Some(meeting.wait());
                    }
                    tray.take(piece);
                    Ok(())
                });
                met.unwrap_or(Ok(()))?;
                tray.holds(said)
            })
        })
        .collect();
    join_all(crew, WAITS).map(drop)
}
