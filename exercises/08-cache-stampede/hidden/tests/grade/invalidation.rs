//! A price changes while it is being loaded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_stampede_hidden::desk::{Desk, SOON};
use cache_stampede_hidden::env::{ALWAYS, NEVER, Real};
use cache_stampede_hidden::subject::{CacheCfg, PriceCache};
use cache_stampede_hidden::traffic::{Call, Herd, price};
use harness::{Check, Failure, Outcome, ensure, within};

const LATE: &str = "A load that began before the invalidation stored what it had read: the old price is back, for the \
                    length of a whole life.";

pub async fn in_flight(_cx: &Check) -> Outcome {
    simple().await?;
    during_a_load(1).await?;
    during_a_load(10).await?;
    old_load_ends_last().await?;
    during_a_renewal().await
}

fn cache(desk: &Desk, env: Arc<Real>) -> Arc<PriceCache> {
    Arc::new(PriceCache::new(desk.door(), env, CacheCfg::default()))
}

/// Nothing under way.
async fn simple() -> Outcome {
    let (desk, k) = (Desk::default(), "simple");
    let cache = cache(&desk, Real::with(NEVER));
    for _ in 0..3 {
        price(&cache, k).await?;
        desk.until_idle(k).await?;
        cache.invalidate(k);
        let new = desk.revise(k);
        is_new(&cache, k, &new, "An invalidated price is not served again.").await?;
    }
    Ok(())
}

/// With a single caller nobody comes after the old load.
async fn during_a_load(callers: usize) -> Outcome {
    let (desk, k) = (Desk::default(), "during a load");
    let cache = cache(&desk, Real::with(NEVER));
    desk.hold(k);
    let mut herd = Herd::of(callers, &cache, k);
    herd.until_asked().await?;
    desk.until_loads(k, 1).await?;
    cache.invalidate(k);
    let new = desk.revise(k);
    desk.release(k);
    finished(&desk, herd, k).await?;
    is_new(&cache, k, &new, LATE).await
}

/// Somebody asks between the invalidation and the end of the old load, which ends last.
async fn old_load_ends_last() -> Outcome {
    let (desk, k) = (Desk::default(), "old load last");
    let cache = cache(&desk, Real::with(NEVER));
    desk.hold(k);
    let first = Call::make(&cache, k);
    desk.until_loads(k, 1).await?;
    cache.invalidate(k);
    let new = desk.revise(k);
    let mut herd = Herd::of(10, &cache, k);
    herd.until_asked().await?;
    // Whoever asks now may wait for the old load or for one of its own.
    let loads = desk.loads(k);
    for load in 1..loads {
        desk.let_go(k, load);
    }
    if loads > 1 {
        desk.until(k, "the end of the newer load", SOON, |page| page.under_way() == 1)
            .await?;
    }
    desk.release(k);
    herd.calls.push(first);
    finished(&desk, herd, k).await?;
    is_new(&cache, k, &new, LATE).await
}

async fn during_a_renewal() -> Outcome {
    let (desk, k) = (Desk::default(), "during a renewal");
    let env = Real::with(NEVER);
    // Short enough for the dice to decide.
    let cfg = CacheCfg {
        ttl: Duration::from_secs(20),
        ..CacheCfg::default()
    };
    let cache = Arc::new(PriceCache::new(desk.door(), env.clone(), cfg));
    desk.hold(k);
    let call = Call::make(&cache, k);
    desk.until_loads(k, 1).await?;
    tokio::time::sleep(Duration::from_millis(60)).await;
    desk.release(k);
    let _ = within(SOON, "the first price", call.answer()).await?;
    desk.hold(k);
    env.show(ALWAYS);
    let mut volunteers = Herd::of(3, &cache, k);
    volunteers.until_asked().await?;
    // Where the dice have no say there is no renewal now, and what follows is a plain invalidation.
    let _ = desk
        .until(k, "a renewal", SOON / 10, |page| page.loads() > 1)
        .await;
    env.show(NEVER);
    cache.invalidate(k);
    let new = desk.revise(k);
    desk.release(k);
    finished(&desk, volunteers, k).await?;
    is_new(&cache, k, &new, LATE).await
}

/// Every caller has its answer, and no load is under way.
async fn finished(desk: &Desk, herd: Herd, k: &str) -> Outcome {
    for end in herd.ends(2 * SOON).await? {
        match end {
            Ok(Ok(_)) => {}
            other => {
                return Err(Failure::new(format!("a caller that waited during the invalidation got {other:?}"))
                    .because("An invalidation is no error of those who wait: they get a price, the one that was loaded or a newer one."));
            }
        }
    }
    desk.until_idle(k).await
}

async fn is_new(cache: &Arc<PriceCache>, k: &str, new: &Bytes, because: &str) -> Outcome {
    // Twice: a load that stores its result late may do so after its callers have been answered.
    for _ in 0..2 {
        let got = price(cache, k).await?;
        ensure!(
            got == new,
            because,
            "a get that began after the invalidation and after every older load was answered {got:?}, the price is {new:?}"
        );
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
