//! Ten thousand callers, one key.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cache_stampede_hidden::desk::{Desk, SOON};
use cache_stampede_hidden::env::{NEVER, Real};
use cache_stampede_hidden::subject::{CacheCfg, PriceCache};
use cache_stampede_hidden::traffic::{Herd, price};
use harness::{Check, Failure, Outcome, ensure};

const KEY: &str = "sku-4711";

pub async fn cold(_cx: &Check) -> Outcome {
    let desk = Desk::default();
    let cache = Arc::new(PriceCache::new(
        desk.door(),
        Real::with(NEVER),
        CacheCfg::default(),
    ));
    desk.hold(KEY);
    let mut herd = Herd::of(10_000, &cache, KEY);
    herd.until_asked().await?;
    desk.until_loads(KEY, 1).await?;
    loads_once(&desk, herd, 0).await?;

    // Those who come later find what the herd has loaded.
    let herd = Herd::of(100, &cache, KEY);
    herd.answers(SOON).await?;
    let loads = desk.loads(KEY);
    ensure!(
        loads == 1,
        "What was loaded was not kept.",
        "{loads} loads, where a herd had loaded the price just before"
    );
    Ok(())
}

pub async fn expired(cx: &Check) -> Outcome {
    let ttl = Duration::from_millis(cx.draw("ttl in milliseconds", &[700, 900, 1100]));
    let desk = Desk::default();
    let cfg = CacheCfg {
        ttl,
        ..CacheCfg::default()
    };
    let cache = Arc::new(PriceCache::new(desk.door(), Real::with(NEVER), cfg));
    price(&cache, KEY).await?;
    desk.until_idle(KEY).await?;
    // A scheduled renewal may come before the herd: then it is the load that the herd waits for.
    desk.hold(KEY);
    desk.revise(KEY);
    let before = desk.loads(KEY);
    tokio::time::sleep(ttl + ttl / 2).await;
    let mut herd = Herd::of(400, &cache, KEY);
    herd.until_asked().await?;
    if desk.until_loads(KEY, before + 1).await.is_err() {
        return Err(Failure::new(format!(
            "nothing was loaded although the price had expired half its life ({ttl:?}) before"
        ))
        .because("You traded load for stale prices: a price that has expired is not served, and no setting makes it live longer."));
    }
    loads_once(&desk, herd, before).await
}

/// Lets the held loads go, and judges what the whole herd has cost and got.
async fn loads_once(desk: &Desk, herd: Herd, before: usize) -> Outcome {
    let at_once = desk.loads(KEY) - before;
    let callers = herd.calls.len();
    desk.release(KEY);
    let answers = herd.answers(4 * SOON).await;
    let loads = desk.loads(KEY) - before;
    ensure!(
        loads == 1,
        match at_once {
            1 =>
                "Each waiter takes its turn to load: whoever gets the turn has to look first whether the price is there.",
            _ => "Every caller that finds nothing loads: nothing brings them together.",
        },
        "{loads} loads for one price that {callers} callers asked for, {at_once} of them at once"
    );
    let answers = answers?;
    let expected = desk.price(KEY);
    ensure!(
        answers.len() == callers,
        "A caller that waits for somebody else's load gets that load's price.",
        "{} of {callers} callers panicked",
        callers - answers.len()
    );
    let wrong: HashSet<String> = answers
        .into_iter()
        .filter(|answer| answer.as_ref() != Ok(&expected))
        .map(|answer| format!("{answer:?}"))
        .collect();
    ensure!(
        wrong.is_empty(),
        "A caller that waits for somebody else's load gets that load's price.",
        "some callers were told {wrong:?}, where the price is {expected:?}"
    );
    Ok(())
}
