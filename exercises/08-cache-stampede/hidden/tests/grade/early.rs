//! Renewal before the expiry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_stampede_hidden::desk::{Desk, SOON};
use cache_stampede_hidden::env::{ALWAYS, NEVER, Real, Virtual};
use cache_stampede_hidden::instance::address;
use cache_stampede_hidden::subject::{CacheCfg, PriceCache, should_refresh_early};
use cache_stampede_hidden::traffic::{Call, Herd, price};
use harness::redis::Redis;
use harness::{Check, Failure, Outcome, ensure, eventually, within};

const K: &str = "hot";

/// Remaining and delta in milliseconds, beta, u, and what follows.
const TABLE: &[(u64, u64, f64, f64, bool)] = &[
    // -ln(0.5) is 0.693, -log10(0.5) is 0.301.
    (690, 1_000, 1.0, 0.5, true),
    (696, 1_000, 1.0, 0.5, false),
    (1_380, 1_000, 2.0, 0.5, true),
    (1_390, 1_000, 2.0, 0.5, false),
    (345, 1_000, 0.5, 0.5, true),
    (350, 1_000, 0.5, 0.5, false),
    // Loads of less than a second, and of some odd length.
    (69, 100, 1.0, 0.5, true),
    (70, 100, 1.0, 0.5, false),
    (2, 3, 1.0, 0.5, true),
    (3, 3, 1.0, 0.5, false),
    (1_038, 1_500, 1.0, 0.5, true),
    (1_041, 1_500, 1.0, 0.5, false),
    // The ends of the dice.
    (60_000, 1_000, 1.0, 0.0, true),
    (60_000, 1, 1.0, 0.0, true),
    (600_000, 1_000, 1.0, 1e-300, true),
    (700_000, 1_000, 1.0, 1e-300, false),
    (2_300, 1_000, 1.0, 0.1, true),
    (2_306, 1_000, 1.0, 0.1, false),
    (105, 1_000, 1.0, 0.9, true),
    (106, 1_000, 1.0, 0.9, false),
    (1, 1_000, 1.0, 0.999_999, false),
    // What has expired is due, whatever the rest.
    (0, 1_000, 1.0, 0.5, true),
    (0, 1_000, 1.0, 0.999_999, true),
    (0, 0, 1.0, 0.5, true),
    (0, 1_000, 0.0, 0.5, true),
    (0, 0, 1.0, 0.0, true),
    // No delta, no need to be early.
    (1, 0, 1.0, 0.5, false),
    (1, 0, 1.0, 1e-300, false),
    (1_000, 1_000, 0.0, 1e-300, false),
];

pub async fn formula(_cx: &Check) -> Outcome {
    let wrong: Vec<String> = TABLE
        .iter()
        .filter(|&&(remaining, delta, beta, u, expected)| early(remaining, delta, beta, u) != expected)
        .map(|(remaining, delta, beta, u, expected)| {
            format!("remaining {remaining} ms, δ {delta} ms, β {beta}, u {u}: should be {expected}")
        })
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let right = |of: fn(u64, u64) -> bool| {
        TABLE.iter().all(|&(remaining, delta, beta, u, expected)| {
            !of(remaining, delta) || early(remaining, delta, beta, u) == expected
        })
    };
    let decades = early(300, 1_000, 1.0, 0.5) && !early(600, 1_000, 1.0, 0.5);
    let because = match () {
        () if right(|remaining, _| remaining > 0) => {
            "What has expired is due, whatever the rest: zero times infinity is no number, and nothing compares with that."
        }
        () if right(|remaining, delta| remaining > 0 && delta % 1_000 == 0) => {
            "A load that takes less than a second counts as taking none: the formula is about fractions of a second."
        }
        () if decades => {
            "The logarithm is the natural one: with another base the renewal comes too late to be early."
        }
        () => "The formula says `-δβ·ln(u) ≥ remaining`: a logarithm of something below one is negative.",
    };
    let failure =
        Failure::new(format!("{} of {} values are wrong", wrong.len(), TABLE.len())).because(because);
    Err(wrong.into_iter().take(4).fold(failure, Failure::evidence))
}

fn early(remaining_ms: u64, delta_ms: u64, beta: f64, u: f64) -> bool {
    let [remaining, delta] = [remaining_ms, delta_ms].map(Duration::from_millis);
    should_refresh_early(remaining, delta, beta, u)
}

pub async fn before_expiry(cx: &Check) -> Outcome {
    let ttl = Duration::from_millis(cx.draw("ttl in milliseconds", &[3_000, 3_500, 4_000]));
    let redis = cx.redis().await?;
    let (alone, shared) = tokio::join!(in_some_life(ttl, None), in_some_life(ttl, Some(&redis)));
    alone?;
    shared.map_err(|failure| failure.evidence("so it is with Redis; without it prices are renewed in time"))
}

async fn in_some_life(ttl: Duration, redis: Option<&Redis>) -> Outcome {
    // A renewal that comes late in a life, and a machine that stands still at that moment: then another life tells.
    let mut seen = Failure::inconclusive("no life was observed");
    let mut failed = 0;
    for _ in 0..4 {
        match one_life(ttl, redis).await {
            Ok(()) => return Ok(()),
            Err(failure) if failure.is_fail() => {
                failed += 1;
                seen = failure;
                if failed == 2 {
                    break;
                }
            }
            Err(failure) if failed == 0 => seen = failure,
            Err(_) => {}
        }
    }
    Err(seen)
}

async fn one_life(ttl: Duration, redis: Option<&Redis>) -> Outcome {
    let desk = Desk::default();
    let env = Real::with(NEVER);
    let mut cfg = CacheCfg {
        ttl,
        ..CacheCfg::default()
    };
    if let Some(redis) = redis {
        // What an earlier life has left.
        let flushed = redis.admin().await?.command(&["FLUSHALL"]).await;
        flushed.map_err(|err| Failure::environment(format!("failed to empty Redis: {err}")))?;
        cfg.shared = Some(address(redis.tap())?);
    }
    let cache = Arc::new(PriceCache::new(desk.door(), env.clone(), cfg));
    // A load that takes its time, so that there is something to be early for.
    desk.hold(K);
    let first = Call::make(&cache, K);
    desk.until_loads(K, 1).await?;
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_millis(300)).await;
    desk.release(K);
    let _ = within(SOON, "the first price", first.answer()).await?;
    desk.until_idle(K).await?;
    let old = desk.price(K);

    desk.hold(K);
    let new = desk.revise(K);
    env.show(ALWAYS);
    let expiry = begun + ttl;
    let (waiting, gap) = ask_until_renewed(&desk, &cache, expiry).await?;
    let renewed = desk.page(K).begun.get(1).copied();
    if renewed.is_none_or(|renewed| renewed >= expiry) {
        if gap > ttl / 10 {
            return Err(Failure::inconclusive(format!(
                "the machine did not ask for {gap:?} in the second half of a life of {ttl:?}"
            )));
        }
        let observed = match renewed {
            Some(renewed) => format!(
                "the next load came {:?} after the last one, ttl {ttl:?}",
                renewed - begun
            ),
            None => format!("no load within {:?}, ttl {ttl:?}", 2 * ttl),
        };
        return Err(Failure::new(observed).because(match redis {
            None => "Nothing renews a price before it expires, however often it is asked for: at its expiry everybody waits \
                     for the load.",
            Some(_) => "A renewal that looks into Redis finds there the copy of the very price that it is to renew: only one \
                        that lives longer is news.",
        }));
    }
    meanwhile(&desk, &cache, waiting, expiry, &old).await?;
    env.show(NEVER);
    desk.release(K);
    desk.until_idle(K).await?;
    let kept = eventually(SOON, "the renewed price", async || {
        (price(&cache, K).await.ok()? == new).then_some(())
    });
    kept.await
        .map_err(|failure| failure.because("What the renewal loaded was not kept."))
}

/// Asks every few milliseconds until there is a second load. Those who wait for it, and the longest pause between two
/// questions in the second half of the price's life.
async fn ask_until_renewed(
    desk: &Desk,
    cache: &Arc<PriceCache>,
    expiry: Instant,
) -> Result<(Vec<Call>, Duration), Failure> {
    let begun = Instant::now();
    let life = expiry.saturating_duration_since(begun);
    let (mut waiting, mut gap) = (Vec::new(), Duration::ZERO);
    while desk.loads(K) == 1 && begun.elapsed() < 2 * life {
        let asking = Instant::now();
        let mut call = Call::make(cache, K);
        within(SOON, "a caller's turn to ask", call.until_asked()).await?;
        waiting.push(call);
        waiting.retain(|call| !call.is_answered());
        tokio::time::sleep(Duration::from_millis(2)).await;
        if (life / 2..life).contains(&begun.elapsed()) {
            gap = gap.max(asking.elapsed());
        }
    }
    Ok((waiting, gap))
}

/// A renewal is under way, and the price is still fresh.
async fn meanwhile(
    desk: &Desk,
    cache: &Arc<PriceCache>,
    asked: Vec<Call>,
    expiry: Instant,
    old: &[u8],
) -> Outcome {
    let mut herd = Herd::of(60, cache, K);
    herd.until_asked().await?;
    herd.calls.extend(asked);
    let in_time = |call: &Call| {
        call.asked_at()
            .is_some_and(|at| at + Duration::from_millis(100) < expiry)
    };
    let answered = eventually(SOON, "an answer for those who do not renew", async || {
        // The one that volunteered may wait for its load.
        (herd
            .calls
            .iter()
            .filter(|call| in_time(call) && !call.is_answered())
            .count()
            <= 1)
            .then_some(())
    })
    .await;
    let loads = desk.loads(K) - 1;
    ensure!(
        loads == 1,
        "Others volunteer while a renewal is under way: a renewal has to be the only load of its key, as any other.",
        "{loads} loads at once, where one renewal was enough"
    );
    let wait = herd
        .calls
        .iter()
        .filter(|call| in_time(call) && !call.is_answered())
        .count();
    answered.map_err(|_| {
        Failure::new(format!("{wait} callers wait for a renewal although the price they have is fresh"))
            .because("A renewal is early so that nobody has to wait for it: the price that is there is good until it expires.")
    })?;
    let mut answers = 0;
    for call in herd.calls {
        if call.is_answered()
            && in_time(&call)
            && let Ok(answer) = call.answer().await
        {
            answers += 1;
            ensure!(
                answer.as_ref().is_ok_and(|got| got == old),
                "While a renewal is under way the price that is there is served.",
                "a caller got {answer:?} while the renewal was held"
            );
        }
    }
    if answers < 10 {
        return Err(Failure::inconclusive(format!(
            "the machine was too slow to ask often enough before the expiry: {answers} answers"
        )));
    }
    Ok(())
}

const TTL: Duration = Duration::from_secs(60);
const DELTA: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(50);
const CYCLES: u32 = 12;

pub async fn over_many_cycles(cx: &Check) -> Outcome {
    let env = Virtual::seeded(cx.rng("dice"));
    let desk = Desk::default();
    let cfg = CacheCfg {
        ttl: TTL,
        ..CacheCfg::default()
    };
    let cache = Arc::new(PriceCache::new(desk.door(), env.clone(), cfg));
    // Whether the subject goes by the clock that it is given.
    price(&cache, "clock").await?;
    env.advance(TTL + TICK);
    price(&cache, "clock").await?;
    if desk.loads("clock") < 2 {
        cx.note("the cache keeps a clock of its own, so this ran in real time");
        return in_real_time(cx).await;
    }
    let mut calls: Vec<Call> = Vec::new();
    let ticks = TTL.as_millis() as u32 / TICK.as_millis() as u32 * CYCLES;
    let mut under_way: Option<u32> = None;
    desk.hold(K);
    for tick in 0..ticks {
        env.advance(TICK);
        match under_way {
            Some(since) if (tick - since) * TICK >= DELTA => {
                desk.release(K);
                busy_until(|| desk.page(K).under_way() == 0).await;
                desk.hold(K);
                under_way = None;
            }
            None if desk.page(K).under_way() > 0 => under_way = Some(tick),
            _ => {}
        }
        let call = Call::make(&cache, K);
        busy_until(|| call.asked_at().is_some()).await;
        // Time for whoever works beside.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        calls.push(call);
        calls.retain(|call| !call.is_answered());
    }
    desk.release(K);
    let page = desk.page(K);
    cx.note(format!(
        "{ticks} gets over {CYCLES} lives of {TTL:?} of one key whose load takes {DELTA:?}: {} loads",
        page.loads()
    ));
    if page.loads() + 1 < CYCLES as usize {
        // Whoever works on threads of its own is left behind by a clock that does not wait.
        return in_real_time(cx).await;
    }
    judge(page.overlap_peak, page.loads(), CYCLES as usize)
}

/// Fewer lives, and a wider margin.
async fn in_real_time(cx: &Check) -> Outcome {
    let env = Real::with(NEVER);
    let desk = Desk::default();
    let ttl = Duration::from_millis(1_500);
    let cfg = CacheCfg {
        ttl,
        ..CacheCfg::default()
    };
    let cache = Arc::new(PriceCache::new(desk.door(), env.clone(), cfg));
    let mut dice = cx.rng("dice in real time");
    let begun = Instant::now();
    while begun.elapsed() < 3 * ttl {
        env.show(dice.f64().max(1e-9));
        price(&cache, K).await?;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let page = desk.page(K);
    judge(page.overlap_peak, page.loads(), 3)
}

fn judge(overlap_peak: usize, loads: usize, lives: usize) -> Outcome {
    ensure!(
        overlap_peak <= 1,
        "Others volunteer while a renewal is under way: a renewal has to be the only load of its key, as any other.",
        "{overlap_peak} loads of one key at once"
    );
    ensure!(
        loads <= 3 * lives,
        "Renewing early does not mean renewing all the time: the likelihood is to grow as the expiry comes near.",
        "{loads} loads in the time of {lives} lives"
    );
    ensure!(
        loads + 1 >= lives,
        "You traded load for stale prices: a price that has expired is not served, and no setting makes it live longer.",
        "{loads} loads in the time of {lives} lives"
    );
    Ok(())
}

async fn busy_until(fulfilled: impl Fn() -> bool) {
    for _ in 0..200 {
        if fulfilled() {
            return;
        }
        tokio::task::yield_now().await;
    }
}
