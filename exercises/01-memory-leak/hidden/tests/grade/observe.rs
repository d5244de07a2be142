//! How the checks look at the hub from outside.

use std::pin::pin;
use std::time::{Duration, Instant};

use harness::alloc;
use harness::{Check, Failure};
use memory_leak_hidden::subject::{Event, Hub, HubConfig, Session};
use memory_leak_hidden::traffic;

pub const HOUR: Duration = Duration::from_secs(3600);

/// The sweep of a [`patient_hub`].
const SWEEP: Duration = Duration::from_secs(60);

/// Real time for what a hub leaves to threads of its own, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(2);

/// A hub whose devices never go quiet during a check.
pub fn patient_hub(cx: &Check) -> Hub {
    Hub::new(HubConfig {
        idle_ttl: 1000 * HOUR,
        outbox: cx.draw("outbox", &[32, 64, 128]),
        sweep: SWEEP,
    })
}

/// Lets every task run that can, without the clock moving. Cleanup that takes a few steps gets them.
pub async fn rest() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Whether it comes about without the clock moving, be it on another thread.
pub async fn comes_about(mut ask: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        rest().await;
        if ask() || begun.elapsed() > PATIENCE {
            return ask();
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The future's output, or that `what` did not happen within `limit` of the hub's clock.
///
/// A paused clock jumps as soon as no task can run, also while a thread of the hub's works; so when it has jumped, the
/// future gets real time as well, in which the clock stands still.
pub async fn by<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> Result<T, Failure> {
    let mut future = pin!(future);
    if let Ok(output) = tokio::time::timeout(limit, &mut future).await {
        return Ok(output);
    }
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    // While a blocking closure runs, a paused clock does not move.
    let patience = tokio::task::spawn_blocking(move || waiting.recv_timeout(PATIENCE).ok());
    tokio::select! {
        biased;
        output = future => {
            drop(done);
            Ok(output)
        }
        _ = patience => Err(Failure::new(format!("{what} did not happen within {limit:?}"))),
    }
}

/// [`by`], for what needs no time at all.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Failure> {
    by(Duration::from_secs(1), what, future).await
}

/// Keeps a paused clock where it is, for as long as this lives: a hub whose threads are at work need not race against it.
/// For ten seconds of real time at most, should something wait for the clock after all.
pub struct Still(
    #[expect(dead_code, reason = "ends the wait when it is dropped")] std::sync::mpsc::Sender<()>,
);

impl Still {
    pub fn hold() -> Still {
        let (held, waiting) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || waiting.recv_timeout(Duration::from_secs(10)).ok());
        Still(held)
    }
}

/// What a session has to read now. The clock must be paused: it moves by a millisecond, and only once every task waits.
pub async fn unread(session: &mut Session) -> Vec<Event> {
    let mut events = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(1), session.next()).await {
        events.push(event);
    }
    events
}

/// Sessions that a publish reaches, after a first one that may find out who has gone.
pub async fn reached(hub: &Hub, site: &str, number: u64) -> usize {
    hub.publish(site, traffic::message(number)).await;
    rest().await;
    hub.publish(site, traffic::message(number + 1)).await
}

/// Bytes held beyond `before`, once everything has come to rest; 0 if there are fewer than then.
pub async fn held_since(before: alloc::Heap) -> i64 {
    let begun = Instant::now();
    let mut held = i64::MAX;
    // What is still held for a moment by another thread is not kept.
    loop {
        let now = (alloc::settled().await - before).live_bytes.max(0);
        if now < held {
            held = now;
        } else if held < 4096 || begun.elapsed() > PATIENCE / 8 {
            return held;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Lets the housekeeping of a [`patient_hub`] have its turn. The clock must be paused.
pub async fn housekeeping() {
    tokio::time::sleep(2 * SWEEP).await;
}

/// [`held_since`], after the housekeeping.
pub async fn kept_since(before: alloc::Heap) -> i64 {
    housekeeping().await;
    held_since(before).await
}

/// The misconception that a budget's figure shows, for when it is exceeded.
pub fn because(cx: &Check, metric: &str, misconception: &str) {
    cx.explain(metric, misconception, [""; 0]);
}

pub fn kib(bytes: i64) -> String {
    format!("{} KiB", bytes / 1024)
}
