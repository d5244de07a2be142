//! What is left behind, and what a hit costs.

use std::sync::Arc;

use cache_stampede_hidden::desk::{Desk, Effect, SOON};
use cache_stampede_hidden::env::{NEVER, Real};
use cache_stampede_hidden::subject::{CacheCfg, PriceCache};
use cache_stampede_hidden::traffic::{Call, ask, price};
use harness::{Check, Outcome, alloc, ensure, eventually};

/// Keys per window; the first window fills the cache.
const WINDOW: usize = 2_500;
const WINDOWS: usize = 4;

const UNPOLLED: &str = "A load that nobody waits for any more stands still for ever: either it goes on by itself, or it is \
                        dropped with its last caller.";

fn cache(desk: &Desk, max_entries: usize) -> Arc<PriceCache> {
    let cfg = CacheCfg {
        max_entries,
        ..CacheCfg::default()
    };
    Arc::new(PriceCache::new(desk.door(), Real::with(NEVER), cfg))
}

pub async fn distinct(cx: &Check) -> Outcome {
    let max_entries = cx.draw("max_entries", &[500, 1000]);
    let desk = Desk::default();
    let cache = cache(&desk, max_entries);
    let kept = growth(&desk, async |n| {
        price(&cache, &format!("sku-{n:08}")).await.map(drop)
    })
    .await?;
    cx.measure("kept_per_key_bytes", kept);
    cx.explain(
        "kept_per_key_bytes",
        "Something is kept for every key that was ever asked for: a table of locks, or of waiters, is a leak when nobody \
         takes out what is done with.",
        [format!("max_entries is {max_entries}, and {} keys were asked for once", WINDOW * WINDOWS)],
    );
    // A library may put its housekeeping off to the next calls.
    let entries = eventually(SOON, "the number of entries in the statistics", async || {
        for n in 0..50 {
            price(&cache, &format!("late-{n}")).await.ok()?;
        }
        (cache.stats().entries <= max_entries).then_some(())
    });
    entries.await.map_err(|failure| {
        failure
            .because("More prices are held than `max_entries`.")
            .evidence(format!("{:?}, max_entries {max_entries}", cache.stats()))
    })?;
    // A bound that is kept by holding nothing is none.
    let k = "held";
    for _ in 0..20 {
        price(&cache, k).await?;
    }
    let loads = desk.loads(k);
    ensure!(
        loads <= 10,
        "A cache that is full must still hold what is asked for again and again.",
        "{loads} loads for 20 gets in a row of one key, in a cache that was full"
    );
    Ok(())
}

pub async fn failed(cx: &Check) -> Outcome {
    let desk = Desk::default();
    let cache = cache(&desk, 500);
    let kept = growth(&desk, async |n| {
        let k = format!("sku-{n:08}");
        if n % 2 == 0 {
            desk.always(&k, Effect::Fail);
            return ask(&cache, &k).await.map(drop);
        }
        desk.hold(&k);
        let mut call = Call::make(&cache, &k);
        desk.until_loads(&k, 1).await?;
        call.until_asked().await;
        call.hang_up();
        let _ = call.answer().await;
        desk.release(&k);
        desk.until_idle(&k)
            .await
            .map_err(|failure| failure.because(UNPOLLED))
    })
    .await?;
    cx.measure("kept_per_failed_key_bytes", kept);
    cx.explain(
        "kept_per_failed_key_bytes",
        "What is noted about a load has to go with it, however it ends: errors need a bound as prices do, and a caller \
         that goes away takes nothing out.",
        [format!(
            "{} keys, of which every second load failed and every other caller went away; error_ttl is zero",
            WINDOW * WINDOWS
        )],
    );
    eventually(SOON, "the end of every load in the statistics", async || {
        (cache.stats().loading == 0).then_some(())
    })
    .await
    .map_err(|failure| {
        failure
            .because("A load that failed, or whose caller went away, is still counted.")
            .evidence(format!("{:?}", cache.stats()))
    })
}

/// Bytes that each key leaves behind once the cache is full, in the median window.
async fn growth(
    desk: &Desk,
    mut one: impl AsyncFnMut(usize) -> Result<(), harness::Failure>,
) -> Result<f64, harness::Failure> {
    let mut readings = Vec::with_capacity(WINDOWS);
    for window in 0..WINDOWS {
        for n in 0..WINDOW {
            one(window * WINDOW + n).await?;
            if n % 1000 == 999 {
                desk.forget_all();
            }
        }
        readings.push(alloc::settled().await.live_bytes);
    }
    // A table in which keys come and go may double once, whenever it happens to run out of fresh places. What grows with
    // its keys does so in most windows.
    let mut grown: Vec<i64> = readings.windows(2).map(|pair| pair[1] - pair[0]).collect();
    grown.sort_unstable();
    Ok((grown[grown.len() / 2] as f64 / WINDOW as f64).max(0.0))
}

pub async fn hits(cx: &Check) -> Outcome {
    const HITS: u64 = 2_000;
    let desk = Desk::with_prices_of(64 * 1024);
    let cache = cache(&desk, 1_000);
    let keys: Vec<String> = (0..10).map(|n| format!("hot-{n}")).collect();
    for k in &keys {
        price(&cache, k).await?;
    }
    let (mut allocations, mut bytes) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let heap = alloc::process();
        allocations.push(heap.allocations as f64);
        bytes.push(heap.bytes as f64);
        for n in 0..HITS {
            let k = &keys[n as usize % keys.len()];
            let got = cache.get(k).await;
            ensure!(
                got.as_ref().is_ok_and(|price| price.len() == 64 * 1024),
                "A price that is held is answered as it was loaded.",
                "a hit was answered {:?}",
                got.map(|price| price.len())
            );
        }
    }
    let loads: usize = keys.iter().map(|k| desk.loads(k)).sum();
    ensure!(
        loads == keys.len(),
        "A price that is fresh is answered without the origin.",
        "{loads} loads for {} keys that stay fresh",
        keys.len()
    );
    let explained =
        "A hit works for its answer: a price is shared, not copied, and finding it needs no new key.";
    for (metric, readings) in [
        ("allocations_per_hit", &allocations),
        ("allocated_per_hit_bytes", &bytes),
    ] {
        cx.measure(metric, alloc::slope(HITS, readings)?.per_unit);
        cx.explain(metric, explained, ["prices of 64 KiB, ten keys"]);
    }
    Ok(())
}
