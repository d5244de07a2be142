//! Four instances, one Redis.

use std::time::{Duration, Instant};

use cache_stampede_hidden::desk::{Desk, SOON};
use cache_stampede_hidden::instance::{Instance, PATIENCE};
use cache_stampede_hidden::subject::CacheCfg;
use cache_stampede_hidden::traffic::Herd;
use harness::redis::{Client, Redis};
use harness::{Check, Failure, Outcome, ensure, eventually};

const INSTANCES: usize = 4;
const CALLERS: usize = 25;

pub async fn share(cx: &Check) -> Outcome {
    let redis = cx.redis().await?;
    let desk = Desk::default();
    let instances = start(&redis, &desk).await?;
    let k = "shared";
    let loads = herds(&desk, &instances, k).await?;
    ensure!(
        loads <= INSTANCES,
        "Within an instance every caller that misses loads: Redis shares what is there, not what is under way.",
        "{loads} loads for one price that {CALLERS} callers asked for on each of {INSTANCES} instances"
    );
    passed_on(&redis, &desk, k).await?;
    expires_by_itself(&redis).await?;

    const HITS: u64 = 200;
    let one = &instances[0];
    one.price(k).await?;
    let (loads, before) = (desk.loads(k), one.tap.counts().commands);
    for _ in 0..HITS {
        one.price(k).await?;
    }
    ensure!(
        desk.loads(k) == loads,
        "A price that is fresh is answered without the origin.",
        "{} loads during {HITS} hits",
        desk.loads(k) - loads
    );
    let commands = one.tap.counts().commands - before;
    forgotten(&redis, &desk, k).await?;
    cx.measure("redis_commands_per_hit", commands as f64 / HITS as f64);
    cx.explain(
        "redis_commands_per_hit",
        "A hit asks Redis more than once, so Redis is now what every page waits for.",
        [format!("{commands} commands for {HITS} hits")],
    );
    Ok(())
}

/// A new instance takes what is there. Whoever loads may publish it a moment after it has answered.
async fn passed_on(redis: &Redis, desk: &Desk, k: &str) -> Outcome {
    for _ in 0..5 {
        let before = desk.loads(k);
        let another = Instance::start(redis, desk).await?;
        let got = another.price(k).await?;
        ensure!(
            got == desk.price(k),
            "What another instance has put into Redis is the price, byte for byte.",
            "an instance that was started later got {got:?}"
        );
        if desk.loads(k) == before {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(
        Failure::new("each instance that was started later loaded a price that four others have")
            .because("What one instance has loaded does not reach the others: it has to be in Redis, and to be looked for there."),
    )
}

/// What Redis has forgotten no instance can take from it.
async fn forgotten(redis: &Redis, desk: &Desk, k: &str) -> Outcome {
    flush(&mut redis.admin().await?).await?;
    let before = desk.loads(k);
    let another = Instance::start(redis, desk).await?;
    another.price(k).await?;
    ensure!(
        desk.loads(k) > before,
        "Instances are processes on different machines: what they share is Redis, and not the memory of the one process in \
         which they happen to be tried.",
        "Redis was flushed, and an instance that was started afterwards had the price without a load"
    );
    Ok(())
}

pub async fn flush(admin: &mut Client) -> Outcome {
    let flushed = admin.command(&["FLUSHALL"]).await;
    flushed
        .map(drop)
        .map_err(|err| Failure::environment(format!("failed to flush Redis: {err}")))
}

pub async fn expires_by_itself(redis: &Redis) -> Outcome {
    let mut admin = redis.admin().await?;
    let mut lasting = Vec::new();
    let expiring = eventually(SOON, "an expiry on every key", async || {
        lasting.clear();
        let keys = admin.command(&["KEYS", "*"]).await.ok()?;
        for key in keys.parts() {
            let key = String::from_utf8_lossy(key.text()?).into_owned();
            if admin.command(&["PTTL", &key]).await.ok()?.int()? == -1 {
                lasting.push(key);
            }
        }
        lasting.is_empty().then_some(())
    })
    .await;
    expiring.map_err(|_| {
        Failure::new(format!("keys in Redis that never expire: {lasting:?}")).because(
            "Whoever writes to Redis may be gone the next moment: a key without an expiry stays, and a lock that stays \
             is never free again.",
        )
    })
}

pub async fn one_for_all(cx: &Check) -> Outcome {
    let redis = cx.redis().await?;
    let desk = Desk::default();
    let instances = start(&redis, &desk).await?;
    let mut loads = Vec::new();
    // A busy machine may stop an instance for longer than it may keep the others waiting: then the next key tells.
    for k in ["first", "second", "third"] {
        loads.push(herds(&desk, &instances, k).await?);
        if loads.last() == Some(&1) {
            return Ok(());
        }
    }
    Err(Failure::new(format!(
        "{loads:?} loads for three prices, each asked for on {INSTANCES} instances at once"
    ))
    .because("Single-flight ends at the process: each instance loads for itself."))
}

async fn start(redis: &Redis, desk: &Desk) -> Result<Vec<Instance>, Failure> {
    let mut instances = Vec::new();
    for _ in 0..INSTANCES {
        instances.push(Instance::start(redis, desk).await?);
    }
    Ok(instances)
}

/// A herd on each instance, all at once; how many loads that took.
async fn herds(desk: &Desk, instances: &[Instance], k: &str) -> Result<usize, Failure> {
    desk.hold(k);
    let mut herds: Vec<(Herd, u64)> = Vec::new();
    for instance in instances {
        let before = instance.tap.counts().commands;
        herds.push((instance.herd(CALLERS, k).await?, before));
    }
    for (herd, _) in &mut herds {
        herd.until_asked().await?;
    }
    desk.until(k, "a load", PATIENCE, |page| page.loads() >= 1)
        .await?;
    // Until each instance loads, or has asked Redis twice and so waits for another one.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) && desk.loads(k) < instances.len() {
        let had_their_say = instances
            .iter()
            .zip(&herds)
            .all(|(instance, (_, before))| instance.tap.counts().commands >= before + 2);
        if had_their_say {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    desk.release(k);
    for (herd, _) in herds {
        for answer in herd.answers(PATIENCE).await? {
            ensure!(
                answer.as_ref() == Ok(&desk.price(k)),
                "However many instances ask, each caller gets the price.",
                "a caller was told {answer:?}"
            );
        }
    }
    desk.until_idle(k).await?;
    Ok(desk.loads(k))
}

pub async fn age(cx: &Check) -> Outcome {
    let redis = cx.redis().await?;
    let desk = Desk::default();
    let ttl = Duration::from_secs(2);
    let cfg = CacheCfg {
        ttl,
        ..CacheCfg::default()
    };
    let first = Instance::with(&redis, &desk, cfg.clone()).await?;
    let second = Instance::with(&redis, &desk, cfg).await?;
    let k = "ageing";
    first.price(k).await?;
    desk.until_idle(k).await?;
    let loaded = Instant::now();
    let new = desk.revise(k);
    tokio::time::sleep(ttl * 6 / 10).await;
    second.price(k).await?;
    tokio::time::sleep((ttl * 13 / 10).saturating_sub(loaded.elapsed())).await;
    for (instance, name) in [
        (&second, "the instance that found it in Redis"),
        (&first, "the instance that loaded it"),
    ] {
        let got = instance.price(k).await?;
        ensure!(
            got == new,
            "A copy from Redis was given a whole new life: a price's life begins with its load, wherever it is held.",
            "{name} served {got:?} more than {ttl:?} after the last load of that price; now it is {new:?}"
        );
    }

    let k = "withdrawn";
    let first = Instance::start(&redis, &desk).await?;
    first.price(k).await?;
    first.invalidate(k).await?;
    let new = desk.revise(k);
    let got = first.price(k).await?;
    let because = "The invalidated price was still in Redis, and came back from there.";
    ensure!(
        got == new,
        because,
        "the instance that invalidated the price was answered {got:?}, now it is {new:?}"
    );
    later_instances_get(&redis, &desk, k, &new, because).await?;

    let k = "withdrawn while Redis is away";
    let first = Instance::start(&redis, &desk).await?;
    first.price(k).await?;
    desk.until_idle(k).await?;
    let away = first.tap.refuse();
    first.tap.cut_all();
    first.invalidate(k).await?;
    let new = desk.revise(k);
    // Longer than what a client tries on its own account for one command.
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(away);
    for pause in [Duration::ZERO, Duration::from_secs(2)] {
        tokio::time::sleep(pause).await;
        let got = first.price(k).await?;
        ensure!(
            got == new,
            "The removal was lost while Redis was away, and the price came back from there: the instance that was told has to \
             remember it until it is done, or has a newer one.",
            "the instance that invalidated the price was answered {got:?} when Redis was back, now it is {new:?}"
        );
    }

    // With the usual life: a copy that stays too long is there for longer than is waited for.
    let k = "withdrawn while it was loaded";
    let loading = Instance::start(&redis, &desk).await?;
    desk.hold(k);
    let herd = loading.herd(1, k).await?;
    desk.until_loads(k, 1).await?;
    loading.invalidate(k).await?;
    let new = desk.revise(k);
    desk.release(k);
    herd.answers(PATIENCE).await?;
    desk.until_idle(k).await?;
    later_instances_get(
        &redis,
        &desk,
        k,
        &new,
        "A load that was under way when its price was invalidated put the old one into Redis all the same, for everybody else.",
    )
    .await
}

/// What was put into Redis goes soon, not at once.
async fn later_instances_get(redis: &Redis, desk: &Desk, k: &str, new: &[u8], because: &str) -> Outcome {
    eventually(
        SOON,
        "the new price on an instance that was started later",
        async || {
            let later = Instance::start(redis, desk).await.ok()?;
            (later.price(k).await.ok()? == new).then_some(())
        },
    )
    .await
    .map_err(|failure| failure.because(because))
}
