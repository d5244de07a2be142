//! Some keys are slow, the others are not.

use std::sync::Arc;
use std::time::Duration;

use cache_stampede_hidden::desk::{Desk, SOON};
use cache_stampede_hidden::env::{NEVER, Real};
use cache_stampede_hidden::subject::{CacheCfg, PriceCache};
use cache_stampede_hidden::traffic::{Call, price};
use harness::{Check, Failure, Outcome, within};

/// More than a table of locks has shards on a small machine.
const KEYS: usize = 100;
const SLOW: usize = 16;

pub async fn key(cx: &Check) -> Outcome {
    let desk = Desk::default();
    let cache = Arc::new(PriceCache::new(desk.door(), Real::with(NEVER), CacheCfg::default()));
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
    let mut slow = Vec::new();
    for n in 0..SLOW {
        let cold = format!("slow-{n}");
        desk.hold(&cold);
        slow.push((cold.clone(), Call::make(&cache, &cold)));
        let expired = format!("expired-{n}");
        desk.hold(&expired);
        slow.push((expired.clone(), Call::make(&expiring, &expired)));
    }
    let because = "One slow key blocks every key: a lock, or a semaphore, that all loads share is held while one of \
                   them waits for the origin.";
    for (k, _) in &slow {
        let before = usize::from(k.starts_with("expired"));
        desk.until_loads(k, before + 1)
            .await
            .map_err(|failure| failure.because(because))?;
    }
    for n in 0..KEYS {
        answers(&cache, &format!("held-{n}"), "a price that is held", because).await?;
        answers(&cache, &format!("cold-{n}"), "a price that is not held", because).await?;
        if n >= SLOW {
            answers(&expiring, &format!("expired-{n}"), "a price that has expired", because).await?;
        }
    }
    for (k, call) in slow {
        desk.release(&k);
        let answer = within(SOON, "the slow price", call.answer()).await?;
        if !matches!(&answer, Ok(Ok(got)) if *got == desk.price(&k)) {
            return Err(Failure::new(format!("the caller of the slow {k} got {answer:?}")));
        }
    }
    Ok(())
}

async fn answers(cache: &Arc<PriceCache>, k: &str, what: &str, because: &str) -> Outcome {
    // In a task: the check's own thread must not be the one that is stopped.
    let call = Call::make(cache, k);
    let answer = within(SOON, &format!("an answer for {what} ({k})"), call.answer()).await;
    let answer = answer.map_err(|failure| failure.because(because))?;
    match answer {
        Ok(Ok(_)) => Ok(()),
        other => Err(Failure::new(format!("{k}, {what}, got {other:?}"))),
    }
}
