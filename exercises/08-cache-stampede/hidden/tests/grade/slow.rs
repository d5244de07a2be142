//! Some keys are slow, the others are not.

use std::sync::Arc;
use std::time::Duration;

use cache_stampede_hidden::desk::{Desk, SOON};
use cache_stampede_hidden::env::{NEVER, Real};
use cache_stampede_hidden::subject::{CacheCfg, PriceCache};
use cache_stampede_hidden::traffic::{Call, price};
use harness::{Check, Failure, Outcome, ensure, eventually, within};

/// More than a table of locks has shards on a small machine.
const KEYS: usize = 100;
const SLOW: usize = 5;
/// Locks that keys share are fine, if there are many: a few keys share theirs with a slow one.
const SHARED_MAX: usize = KEYS / 5;
/// With 64 locks, about 39 of so many slow keys load at one time, and of the other keys two in five are free.
const CROWD: usize = 60;
const CROWD_LOADING_MIN: usize = 25;
const FREE_MIN: usize = KEYS / 10;

const BECAUSE: &str = "One slow key blocks every key: a lock, or a semaphore, that all loads share is held while one of \
                       them waits for the origin.";

pub async fn key(cx: &Check) -> Outcome {
    let desk = Desk::default();
    let cache = Arc::new(PriceCache::new(
        desk.door(),
        Real::with(NEVER),
        CacheCfg::default(),
    ));
    let short = CacheCfg {
        ttl: Duration::from_millis(300),
        ..CacheCfg::default()
    };
    let expiring = Arc::new(PriceCache::new(desk.door(), Real::with(NEVER), short));
    for n in 0..KEYS {
        price(&cache, &format!("held-{n}")).await?;
        price(&expiring, &format!("expired-{n}")).await?;
    }
    tokio::time::sleep(Duration::from_millis(450)).await;

    // A worker thread that waits for a lock of an ordinary kind cannot even say so.
    cx.stage(
        "asking for other keys while some are slow; a lock that is held while loading, a table's shard included, stops \
         whole threads",
    );
    let few = Slow {
        keys: SLOW,
        // Two of them may share a lock.
        loading_min: SLOW - 2,
        answered_min: KEYS - SHARED_MAX,
    };
    while_slow(&desk, &cache, "slow", "cold", "not held", few).await?;
    while_slow(&desk, &expiring, "expired", "expired", "expired", few).await?;
    let crowd = Slow {
        keys: CROWD,
        loading_min: CROWD_LOADING_MIN,
        answered_min: FREE_MIN,
    };
    while_slow(&desk, &cache, "pre-order", "in a crowd", "not held", crowd).await?;
    // Whoever is held is not even asked about.
    let (k, slow) = slow_key(&desk, &cache, "another slow one").await?;
    let hits: Vec<Call> = (0..KEYS)
        .map(|n| Call::make(&cache, &format!("held-{n}")))
        .collect();
    answered(hits, "a price that is held", 1, KEYS).await?;
    desk.release(&k);
    arrives(&desk, k, slow).await
}

/// How many keys are slow, how many of them load side by side, and how many others are answered meanwhile, at least.
#[derive(Clone, Copy)]
struct Slow {
    keys: usize,
    loading_min: usize,
    answered_min: usize,
}

/// Some keys of `cache` are slow, others are asked for.
async fn while_slow(
    desk: &Desk,
    cache: &Arc<PriceCache>,
    slow: &str,
    other: &str,
    what: &str,
    how: Slow,
) -> Outcome {
    let mut held = Vec::new();
    for n in 0..how.keys {
        let k = format!("{slow}-{n}");
        desk.hold(&k);
        held.push((desk.loads(&k), Call::make(cache, &k), k));
    }
    eventually(SOON, "loads of the slow keys, side by side,", async || {
        let loading = held
            .iter()
            .filter(|(before, _, k)| desk.loads(k) > *before)
            .count();
        (loading >= how.loading_min).then_some(())
    })
    .await
    .map_err(|failure| failure.because(BECAUSE))?;
    let calls: Vec<Call> = (SLOW..KEYS)
        .map(|n| Call::make(cache, &format!("{other}-{n}")))
        .collect();
    answered(
        calls,
        &format!("a price that is {what}"),
        how.keys,
        how.answered_min,
    )
    .await?;
    for (_, _, k) in &held {
        desk.release(k);
    }
    for (_, call, k) in held {
        arrives(desk, k, call).await?;
    }
    Ok(())
}

async fn slow_key(desk: &Desk, cache: &Arc<PriceCache>, k: &str) -> Result<(String, Call), Failure> {
    desk.hold(k);
    let call = Call::make(cache, k);
    desk.until_loads(k, 1).await?;
    Ok((k.to_owned(), call))
}

/// So many of the calls have their answer, while the slow keys are still slow.
async fn answered(calls: Vec<Call>, what: &str, slow: usize, at_least: usize) -> Outcome {
    let count = || calls.iter().filter(|call| call.is_answered()).count();
    let n = calls.len();
    let at_least = at_least.min(n);
    let done = eventually(SOON, "an answer for the other keys", async || {
        (count() >= at_least).then_some(())
    });
    done.await.map_err(|_| {
        Failure::new(format!(
            "{} of {n} callers of other keys were answered while {slow} keys were slow, each asking for {what}",
            count()
        ))
        .because(BECAUSE)
    })
}

/// The slow price, once its load has been let go.
async fn arrives(desk: &Desk, k: String, call: Call) -> Outcome {
    let answer = within(SOON, "the slow price", call.answer()).await?;
    ensure!(
        matches!(&answer, Ok(Ok(got)) if *got == desk.price(&k)),
        "A slow price is a price.",
        "the caller of the slow {k} got {answer:?}"
    );
    Ok(())
}
