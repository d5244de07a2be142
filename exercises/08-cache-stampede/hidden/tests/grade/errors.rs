//! The origin fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_stampede_hidden::desk::{Desk, Effect, SOON};
use cache_stampede_hidden::env::{ALWAYS, NEVER, Real};
use cache_stampede_hidden::subject::{CacheCfg, CacheError, PriceCache};
use cache_stampede_hidden::traffic::{Answer, Herd, ask, price};
use harness::{Check, Failure, Outcome, ensure, eventually};

const CALLERS: usize = 100;

pub async fn herd(cx: &Check) -> Outcome {
    let error_ttl = Duration::from_millis(cx.draw("error_ttl in milliseconds", &[200, 300, 400]));
    for error_ttl in [Duration::ZERO, error_ttl] {
        let desk = Desk::default();
        let cfg = CacheCfg {
            error_ttl,
            ..CacheCfg::default()
        };
        let cache = Arc::new(PriceCache::new(desk.door(), Real::with(NEVER), cfg));
        for round in 0..2 {
            fails(&desk, &cache, round).await?;
            tokio::time::sleep(error_ttl + error_ttl / 2).await;
        }
        desk.always("dear", Effect::Price);
        let answer = ask(&cache, "dear").await?;
        ensure!(
            answer == Ok(desk.price("dear")),
            "An error was remembered for longer than `error_ttl`, and the origin is not asked again.",
            "the origin has recovered, and a get is told {answer:?} (error_ttl {error_ttl:?}, over when the get began)"
        );
    }
    Ok(())
}

/// A herd on a key whose loads fail.
async fn fails(desk: &Desk, cache: &Arc<PriceCache>, round: usize) -> Outcome {
    let k = "dear";
    desk.always(k, Effect::Fail);
    desk.hold(k);
    let before = desk.loads(k);
    let mut herd = Herd::of(CALLERS, cache, k);
    herd.until_asked().await?;
    desk.until_loads(k, before + 1).await.map_err(|failure| {
        failure.because(
            "An error was remembered for longer than `error_ttl`, and the origin is not asked again.",
        )
    })?;
    desk.release(k);
    let answers = herd.answers(2 * SOON).await.map_err(|failure| {
        failure
            .because("Those who wait for a load have to hear of its failure as well, or they wait for ever.")
    });
    desk.until_idle(k).await?;
    let loads = desk.loads(k) - before;
    ensure!(
        loads <= 2,
        "A failed load is a load: when each of its waiters tries for itself, the origin that is down gets the whole herd.",
        "{loads} loads for {CALLERS} callers of a key whose load fails (herd {})",
        round + 1
    );
    let answers = answers?;
    let told = answers.iter().filter(|answer| is_origins(answer)).count();
    ensure!(
        told == CALLERS,
        "The origin's error is what the callers are to be told.",
        "{told} of {CALLERS} callers were told the origin's error; one of the others: {:?}",
        answers.iter().find(|answer| !is_origins(answer))
    );
    Ok(())
}

fn is_origins(answer: &Answer) -> bool {
    matches!(answer, Err(CacheError::Origin(_)))
}

pub async fn stale(_cx: &Check) -> Outcome {
    let (within, after, invalidated, loading, renewal) = tokio::join!(
        within_the_grace(),
        after_the_grace(),
        invalidated(),
        invalidated_while_it_is_loaded(),
        renewal()
    );
    within.and(after).and(invalidated).and(loading).and(renewal)
}

const TTL: Duration = Duration::from_millis(300);

fn cache(desk: &Desk, stale_grace: Duration) -> Arc<PriceCache> {
    let cfg = CacheCfg {
        ttl: TTL,
        stale_grace,
        error_ttl: Duration::from_millis(50),
        ..CacheCfg::default()
    };
    Arc::new(PriceCache::new(desk.door(), Real::with(NEVER), cfg))
}

async fn within_the_grace() -> Outcome {
    let (desk, k) = (Desk::default(), "flaky");
    let cache = cache(&desk, Duration::from_secs(60));
    let old = price(&cache, k).await?;
    desk.always(k, Effect::Fail);
    desk.revise(k);
    tokio::time::sleep(TTL + TTL / 2).await;
    // More than one round: the failure itself must not lose the old price either.
    for round in 1..=3 {
        let answers = Herd::of(20, &cache, k).answers(2 * SOON).await?;
        let served = answers
            .iter()
            .filter(|answer| answer.as_ref() == Ok(&old))
            .count();
        ensure!(
            served == 20,
            "Within `stale_grace` after its expiry an old price is served when the origin fails; here it was thrown away.",
            "{served} of 20 callers got the old price while the origin failed (round {round}); one of the others: {:?}",
            answers.iter().find(|answer| answer.as_ref() != Ok(&old))
        );
        tokio::time::sleep(Duration::from_millis(75)).await;
    }
    desk.always(k, Effect::Price);
    let new = desk.price(k);
    let renewed = eventually(SOON, "a new price after the origin had recovered", async || {
        (price(&cache, k).await.ok()? == new).then_some(())
    });
    renewed.await.map_err(|failure| {
        failure.because("The old price became the price: a load that failed must not make it younger, nor stop further loads.")
    })
}

async fn after_the_grace() -> Outcome {
    let (desk, k) = (Desk::default(), "gone");
    let grace = Duration::from_millis(400);
    let cache = cache(&desk, grace);
    price(&cache, k).await?;
    desk.until_idle(k).await?;
    let loaded = Instant::now();
    desk.always(k, Effect::Fail);
    // Asked for all the time: no failure may prolong the price's life.
    while loaded.elapsed() < TTL + grace + Duration::from_millis(200) {
        ask(&cache, k).await?.ok();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = ask(&cache, k).await?;
    ensure!(
        is_origins(&answer),
        "An old price is served for `stale_grace` after its expiry and no longer: each failure, or each get, made it younger.",
        "{answer:?} more than {grace:?} after the expiry of the only price that was ever loaded"
    );
    Ok(())
}

async fn invalidated() -> Outcome {
    let (desk, k) = (Desk::default(), "wrong");
    let cache = cache(&desk, Duration::from_secs(60));
    price(&cache, k).await?;
    desk.until_idle(k).await?;
    cache.invalidate(k);
    desk.always(k, Effect::Fail);
    let answer = ask(&cache, k).await?;
    if !is_origins(&answer) {
        return Err(Failure::new(format!(
            "{answer:?} after the price was invalidated and the origin failed"
        ))
        .because("A price that was invalidated is known to be wrong: it is no better than none."));
    }
    Ok(())
}

async fn invalidated_while_it_is_loaded() -> Outcome {
    let (desk, k) = (Desk::default(), "wrong, as it turns out");
    let cache = cache(&desk, Duration::from_secs(60));
    price(&cache, k).await?;
    desk.until_idle(k).await?;
    tokio::time::sleep(TTL + TTL / 2).await;
    desk.always(k, Effect::Fail);
    desk.hold(k);
    let before = Herd::of(1, &cache, k);
    desk.until_loads(k, 2).await?;
    cache.invalidate(k);
    let mut after = Herd::of(5, &cache, k);
    after.until_asked().await?;
    desk.release(k);
    for answer in after.answers(2 * SOON).await? {
        ensure!(
            is_origins(&answer),
            "A load that began before the invalidation had the old price with it, and brought it back when the origin failed.",
            "{answer:?} for a caller that came after the invalidation, while a load was under way that failed"
        );
    }
    before.answers(2 * SOON).await.map(drop)
}

/// The price is fresh, and a renewal fails.
async fn renewal() -> Outcome {
    let (desk, k) = (Desk::default(), "renewed in vain");
    let env = Real::with(NEVER);
    let cache = Arc::new(PriceCache::new(desk.door(), env.clone(), CacheCfg::default()));
    desk.hold(k);
    let first = Herd::of(1, &cache, k);
    desk.until_loads(k, 1).await?;
    // Something to be early for.
    tokio::time::sleep(Duration::from_millis(200)).await;
    desk.release(k);
    first.answers(SOON).await?;
    desk.always(k, Effect::Fail);
    env.show(ALWAYS);
    for _ in 0..20 {
        let answer = ask(&cache, k).await?;
        ensure!(
            answer.as_ref() == Ok(&desk.price(k)),
            "A renewal that fails is nobody's error: the price that is there is good until it expires.",
            "{answer:?} while the price was fresh and its renewal failed"
        );
        // A renewal in the background has its time to fail.
        tokio::time::sleep(Duration::from_millis(5)).await;
        desk.until_idle(k).await?;
    }
    Ok(())
}
