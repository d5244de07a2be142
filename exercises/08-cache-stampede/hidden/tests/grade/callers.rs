//! Callers that go away, and loads that panic.

use std::sync::Arc;
use std::time::Duration;

use cache_stampede_hidden::desk::{Desk, Effect, SOON};
use cache_stampede_hidden::env::{NEVER, Real};
use cache_stampede_hidden::subject::{CacheCfg, PriceCache};
use cache_stampede_hidden::traffic::{Call, Herd, price};
use harness::{Check, Failure, Outcome, ensure, eventually};

const TAKEOVER: &str = "When the caller that had begun the load went away, those who waited for it were never told: a \
                        load must not belong to one of its callers, or another has to take over.";

/// A table of locks, or of waiters, may look right with one key.
const KEYS: usize = 8;

pub async fn hang_up(_cx: &Check) -> Outcome {
    let desk = Desk::default();
    let cache = Arc::new(PriceCache::new(
        desk.door(),
        Real::with(NEVER),
        CacheCfg::default(),
    ));
    for n in 0..KEYS {
        first_of_many(&desk, &cache, &format!("many-{n}")).await?;
    }
    first_and_only(&desk, &cache).await?;
    one_after_the_other(&desk, &cache).await?;
    let loading = eventually(SOON, "the end of every load in the statistics", async || {
        (cache.stats().loading == 0).then_some(())
    });
    loading.await.map_err(|failure| {
        failure
            .because("A load whose caller went away is still counted: what is counted up has to be counted down however a load ends.")
            .evidence(format!("{:?}", cache.stats()))
    })
}

async fn first_of_many(desk: &Desk, cache: &Arc<PriceCache>, k: &str) -> Outcome {
    desk.hold(k);
    let first = Call::make(cache, k);
    desk.until_loads(k, 1).await?;
    let mut herd = Herd::of(99, cache, k);
    herd.until_asked().await?;
    first.hang_up();
    let _ = first.answer().await;
    desk.release(k);
    all_get_it(desk, herd, k, 2).await
}

async fn first_and_only(desk: &Desk, cache: &Arc<PriceCache>) -> Outcome {
    let k = "alone";
    desk.hold(k);
    let call = Call::make(cache, k);
    desk.until_loads(k, 1).await?;
    call.hang_up();
    let _ = call.answer().await;
    // The load may have ended with its caller, or goes on.
    let mut next = Herd::of(1, cache, k);
    next.until_asked().await?;
    desk.release(k);
    all_get_it(desk, next, k, 2).await
}

/// Every caller but the last goes away, each while it may be the one that loads.
async fn one_after_the_other(desk: &Desk, cache: &Arc<PriceCache>) -> Outcome {
    const CALLERS: usize = 12;
    let k = "one after the other";
    desk.hold(k);
    let mut herd = Herd::of(CALLERS, cache, k);
    herd.until_asked().await?;
    desk.until_loads(k, 1).await?;
    let last = herd.calls.split_off(CALLERS - 1);
    for call in herd.calls {
        call.hang_up();
        let _ = call.answer().await;
    }
    desk.release(k);
    all_get_it(desk, Herd { calls: last }, k, CALLERS).await
}

async fn all_get_it(desk: &Desk, herd: Herd, k: &str, loads_max: usize) -> Outcome {
    let callers = herd.calls.len();
    let answers = herd
        .answers(2 * SOON)
        .await
        .map_err(|failure| failure.because(TAKEOVER));
    let loads = desk.loads(k);
    ensure!(
        loads <= loads_max,
        "The callers that were left did not come together again: each loads for itself.",
        "{loads} loads for {callers} callers that were left when the first had gone, at most {loads_max} expected"
    );
    let answers = answers?;
    let expected = desk.price(k);
    let told = answers
        .iter()
        .filter(|answer| answer.as_ref() == Ok(&expected))
        .count();
    ensure!(
        told == callers,
        "Whoever is still there wants the price: somebody else's departure is no error of theirs.",
        "{told} of {callers} callers got the price after the first had gone; one of the others: {:?}",
        answers.iter().find(|answer| answer.is_err())
    );
    desk.until_idle(k).await?;
    let loads = desk.loads(k);
    ensure!(
        loads <= loads_max,
        "The callers that were left did not come together again: each loads for itself.",
        "{loads} loads in the end, at most {loads_max} expected"
    );
    Ok(())
}

pub async fn panic(_cx: &Check) -> Outcome {
    let desk = Desk::default();
    let cache = Arc::new(PriceCache::new(
        desk.door(),
        Real::with(NEVER),
        CacheCfg::default(),
    ));
    panics(&desk, &cache, "cold").await?;
    // A price that is renewed may take another way through the cache.
    let ttl = Duration::from_millis(300);
    let cfg = CacheCfg {
        ttl,
        ..CacheCfg::default()
    };
    let expiring = Arc::new(PriceCache::new(desk.door(), Real::with(NEVER), cfg));
    price(&expiring, "expired").await?;
    tokio::time::sleep(ttl + ttl / 2).await;
    panics(&desk, &expiring, "expired").await
}

/// The next load of `k` panics while twenty wait for it.
async fn panics(desk: &Desk, cache: &Arc<PriceCache>, k: &str) -> Outcome {
    const CALLERS: usize = 20;
    let before = desk.loads(k);
    desk.script(k, before, Effect::Panic);
    desk.hold(k);
    let first = Call::make(cache, k);
    desk.until_loads(k, before + 1).await?;
    let mut herd = Herd::of(CALLERS - 1, cache, k);
    herd.until_asked().await?;
    herd.calls.push(first);
    desk.release(k);
    let ends = herd.ends(2 * SOON).await.map_err(|failure| {
        failure.because("The load panicked and left its mark behind: whoever waits for it, waits for ever.")
    })?;
    let panicked = ends.iter().filter(|end| end.is_err()).count();
    ensure!(
        panicked <= 1,
        "A panic is passed on to everybody who waits: it is the origin's client that has a bug, not its callers.",
        "{panicked} of {CALLERS} callers panicked when the load of a {k} price did"
    );
    price(cache, k).await.map_err(|failure: Failure| {
        failure
            .because("The load that panicked left its mark behind: the key is lost until the next restart.")
    })?;
    desk.until_idle(k).await?;
    let loads = desk.loads(k) - before;
    ensure!(
        loads <= 2,
        "After a panic the callers that were left did not come together again: each loads for itself.",
        "{loads} loads for one price that {CALLERS} callers asked for, of which the first panicked"
    );
    Ok(())
}
