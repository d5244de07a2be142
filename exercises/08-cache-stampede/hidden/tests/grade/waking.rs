//! Whether waiting costs time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_stampede_hidden::desk::{Desk, SOON};
use cache_stampede_hidden::env::{NEVER, Real};
use cache_stampede_hidden::subject::{CacheCfg, PriceCache};
use cache_stampede_hidden::traffic::{Call, Herd};
use harness::{Check, Outcome};

const K: &str = "awaited";
const CALLERS: usize = 100;

/// The clock stands still for as long as somebody has something to do; this check always has. So a caller that waits
/// for the load is woken, and one that waits for the clock is not.
pub async fn waiters(cx: &Check) -> Outcome {
    let desk = Desk::default();
    let cache = Arc::new(PriceCache::new(
        desk.door(),
        Real::with(NEVER),
        CacheCfg::default(),
    ));
    desk.hold(K);
    let first = Call::make(&cache, K);
    busy_until(|| desk.loads(K) == 1).await;
    let mut herd = Herd::of(CALLERS - 1, &cache, K);
    busy_until(|| herd.calls.iter().all(|call| call.asked_at().is_some())).await;
    herd.calls.push(first);
    let begun = tokio::time::Instant::now();
    desk.release(K);
    busy_until(|| herd.answered() == CALLERS).await;
    let awake = herd.answered();
    // Whoever is still waiting, waits for the clock; let it run.
    herd.ends(2 * SOON)
        .await
        .map_err(|failure| failure.because("Nobody told the callers that the load was over."))?;
    let took = tokio::time::Instant::now() - begun;
    cx.measure("wake_up_ms", took.as_secs_f64() * 1e3);
    cx.explain(
        "wake_up_ms",
        "Waiting is polling: the latency is a multiple of the pause, and every waiter keeps the processor busy.",
        [format!("{awake} of {CALLERS} callers were woken by the load; the others needed the clock")],
    );
    Ok(())
}

/// Keeps the runtime busy until the condition holds, for two seconds at most: in vain for whoever waits for the clock.
async fn busy_until(fulfilled: impl Fn() -> bool) {
    let begun = Instant::now();
    while !fulfilled() && begun.elapsed() < Duration::from_secs(2) {
        tokio::task::yield_now().await;
    }
}
