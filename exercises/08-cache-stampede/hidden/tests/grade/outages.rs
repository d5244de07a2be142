//! An instance crashes, or Redis is not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cache_stampede_hidden::desk::{Desk, SOON};
use cache_stampede_hidden::instance::{HELD_UP_MAX, Instance, PATIENCE};
use cache_stampede_hidden::traffic::Herd;
use harness::redis::{Client, Redis, Value};
use harness::{Check, Failure, Outcome, ensure};
use tokio::task::JoinSet;

use crate::replicas::{expires_by_itself, flush};

/// More than a way through Redis has commands.
const COMMANDS_MAX: usize = 8;

pub async fn crash(cx: &Check) -> Outcome {
    let redis = cx.redis().await?;
    let desk = Desk::default();
    let survivor = Arc::new(Instance::start(&redis, &desk).await?);
    // How many commands an undisturbed load takes.
    let undisturbed = Instance::start(&redis, &desk).await?;
    undisturbed.price("undisturbed").await?;
    let commands = (undisturbed.tap.counts().commands as usize).min(COMMANDS_MAX);
    cx.note(format!(
        "an undisturbed load takes {commands} commands that work with data"
    ));

    let mut crashing = JoinSet::new();
    for place in (1..=commands).map(Some).chain([None]) {
        let (instance, desk, survivor) = (
            Instance::start(&redis, &desk).await?,
            desk.clone(),
            survivor.clone(),
        );
        crashing.spawn(async move { crashes_at(instance, &desk, &survivor, place).await });
    }
    let crashes: Result<Vec<Crash>, Failure> = crashing.join_all().await.into_iter().collect();
    let crashes = crashes?;
    // Before anybody mends what is left.
    expires_by_itself(&redis).await?;
    let mut waiting = Vec::new();
    for crash in crashes {
        let herd = match crash.waiting {
            Some(herd) => herd,
            None => survivor.herd(3, &crash.k).await?,
        };
        waiting.push((crash.k, herd));
    }
    for (k, herd) in waiting {
        let answers = herd.answers(HELD_UP_MAX).await.map_err(|failure| {
            failure
                .because("The instance that crashed still holds the others up: what it had taken in Redis does not end with it.")
                .evidence(format!("it crashed {k}"))
        })?;
        ensure!(
            answers
                .iter()
                .all(|answer| answer.as_ref() == Ok(&desk.price(&k))),
            "Another instance's crash is no reason for an error.",
            "the callers of the instance that is left got {answers:?}; the other one crashed {k}"
        );
    }
    expires_by_itself(&redis).await
}

/// An instance that has crashed while it was asked for a price.
struct Crash {
    k: String,
    /// Callers of the instance that is left, if they came before the crash.
    waiting: Option<Herd>,
}

/// An instance crashes when Redis has done its command number `place`, or else during its load.
async fn crashes_at(
    crashing: Instance,
    desk: &Desk,
    survivor: &Instance,
    place: Option<usize>,
) -> Result<Crash, Failure> {
    let k = place.map_or("during its load".to_owned(), |n| {
        format!("after Redis had done its command number {n}")
    });
    let seen = AtomicUsize::new(0);
    let gate = crashing
        .tap
        .hold_replies(move |request| request.data && Some(seen.fetch_add(1, Ordering::Relaxed) + 1) == place);
    if place.is_none() {
        desk.hold(&k);
    }
    let _call = crashing.herd(1, &k).await?;
    let waiting = match place {
        Some(_) => {
            // A command that has another reason than the load may not come this time: then the instance crashes idle.
            gate.until_waiting(1, Duration::from_secs(3)).await.ok();
            None
        }
        None => {
            desk.until(&k, "a load", PATIENCE, |page| page.loads() == 1)
                .await?;
            let mut herd = survivor.herd(3, &k).await?;
            herd.until_asked().await?;
            Some(herd)
        }
    };
    crashing.crash().await;
    drop(gate);
    desk.release(&k);
    Ok(Crash { k, waiting })
}

pub async fn owner(cx: &Check) -> Outcome {
    let redis = cx.redis().await?;
    let mut admin = redis.admin().await?;
    let desk = Desk::default();
    let (slow, next) = (
        Instance::start(&redis, &desk).await?,
        Instance::start(&redis, &desk).await?,
    );
    let k = "slow";
    desk.hold(k);
    let first = slow.herd(1, k).await?;
    desk.until(k, "a load", PATIENCE, |page| page.loads() == 1)
        .await?;
    // Redis is restarted, and remembers nothing: whatever the first instance had taken is free again.
    flush(&mut admin).await?;
    let second = next.herd(1, k).await?;
    desk.until(k, "a load by the second instance", PATIENCE, |page| {
        page.loads() == 2
    })
    .await
    .map_err(|failure| {
        failure.because("Redis has forgotten who is loading, and the second instance still waits.")
    })?;
    let before = snapshot(&mut admin).await?;
    let taken = Instant::now();
    desk.let_go(k, 0);
    let told = first.answers(PATIENCE).await?;
    // Whatever it still has to say to Redis goes before this, or beside it.
    slow.price("afterwards").await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let price = desk.price(k);
    for (key, value, lives) in before {
        let now = admin.command(&["GET", &key]).await.unwrap_or(Value::Null);
        let published = now.text().is_some_and(|text| contains(text, &price));
        let over = taken.elapsed() + Duration::from_millis(50) > lives;
        ensure!(
            now == value || published || over,
            "A lock was released by an instance that it no longer belonged to: only whoever holds it may, by a token of its own, compared and deleted in one step.",
            "the second instance had put `{key}` into Redis and is still loading; when the first one was done, its value was {now:?}"
        );
    }
    desk.release(k);
    let both = told.into_iter().chain(second.answers(PATIENCE).await?);
    for answer in both {
        ensure!(
            answer.as_ref() == Ok(&price),
            "However long it takes, each caller gets the price.",
            "a caller was told {answer:?}"
        );
    }
    Ok(())
}

/// Every key that holds a text, with its value and how long it has to live.
async fn snapshot(admin: &mut Client) -> Result<Vec<(String, Value, Duration)>, Failure> {
    let broken = |err| Failure::environment(format!("failed to read Redis: {err}"));
    let mut snapshot = Vec::new();
    for key in admin.command(&["KEYS", "*"]).await.map_err(broken)?.parts() {
        let key = String::from_utf8_lossy(key.text().unwrap_or_default()).into_owned();
        let lives = admin.command(&["PTTL", &key]).await.map_err(broken)?.int();
        let lives = lives
            .and_then(|ms| u64::try_from(ms).ok())
            .map_or(Duration::MAX, Duration::from_millis);
        if let Ok(value) = admin.command(&["GET", &key]).await {
            snapshot.push((key, value, lives));
        }
    }
    Ok(snapshot)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

pub async fn no_redis(cx: &Check) -> Outcome {
    let redis = cx.redis().await?;
    let desk = Desk::default();
    let (refused, silent, cut, mute) = tokio::join!(
        refused(&redis, &desk),
        silent(&redis, &desk),
        cut(&redis, &desk),
        mute(&redis, &desk),
    );
    refused.and(silent).and(cut).and(mute)
}

const NO_REASON: &str = "Redis spares the origin some loads; it is nobody's reason to go without a price.";

async fn refused(redis: &Redis, desk: &Desk) -> Outcome {
    let instance = Instance::start(redis, desk).await?;
    let fault = instance.tap.refuse();
    answers(desk, &instance, "while Redis refuses", NO_REASON).await?;
    drop(fault);
    used_again(redis, desk, &instance, "it refused connections").await
}

async fn silent(redis: &Redis, desk: &Desk) -> Outcome {
    let instance = Instance::start(redis, desk).await?;
    let fault = instance.tap.black_hole();
    answers(
        desk,
        &instance,
        "while Redis is silent",
        "Redis has a caller wait: every word with it needs a time limit, and so have all words of one call together.",
    )
    .await?;
    drop(fault);
    used_again(redis, desk, &instance, "it was silent").await
}

/// The connection breaks during a load.
async fn cut(redis: &Redis, desk: &Desk) -> Outcome {
    let instance = Instance::start(redis, desk).await?;
    instance.price("before the cut").await?;
    let k = "when the connection breaks";
    desk.hold(k);
    let waiting = instance.herd(5, k).await?;
    desk.until(k, "a load", PATIENCE, |page| page.loads() == 1)
        .await?;
    instance.tap.cut_all();
    desk.release(k);
    for answer in waiting.answers(HELD_UP_MAX).await? {
        ensure!(
            answer.as_ref() == Ok(&desk.price(k)),
            NO_REASON,
            "a caller was told {answer:?} when the connection to Redis broke during the load"
        );
    }
    used_again(redis, desk, &instance, "a connection broke").await
}

/// Redis does what it is told, and its replies do not come.
async fn mute(redis: &Redis, desk: &Desk) -> Outcome {
    let instance = Instance::start(redis, desk).await?;
    instance.price("before it was mute").await?;
    let fault = instance.tap.hold_replies(|request| request.data);
    let because = "A reply that does not come leaves open what Redis has done: the load must not depend on it, nor wait for one after the other.";
    answers(desk, &instance, "while no reply of Redis comes", because).await?;
    drop(fault);
    used_again(redis, desk, &instance, "its replies did not come").await
}

async fn answers(desk: &Desk, instance: &Instance, k: &str, because: &str) -> Outcome {
    for what in ["a price that is not held", "the same price again"] {
        let answer = instance
            .ask(k)
            .await
            .map_err(|failure| failure.because(because))?;
        ensure!(
            answer.as_ref() == Ok(&desk.price(k)),
            because,
            "{what} was answered {answer:?} {k}"
        );
    }
    let loads = desk.loads(k);
    ensure!(
        loads == 1,
        "What was loaded is held by the instance itself, whatever becomes of Redis.",
        "{loads} loads for two gets in a row, {k}"
    );
    Ok(())
}

/// What the instance loads now reaches others again.
async fn used_again(redis: &Redis, desk: &Desk, instance: &Instance, after: &str) -> Outcome {
    let another = Instance::start(redis, desk).await?;
    let begun = Instant::now();
    let mut n = 0;
    while begun.elapsed() < PATIENCE {
        n += 1;
        let k = format!("after {after} ({n})");
        instance.price(&k).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
        another.price(&k).await?;
        if desk.loads(&k) == 1 {
            return Ok(());
        }
        tokio::time::sleep(SOON / 20).await;
    }
    Err(Failure::new(format!(
        "Redis is back for {PATIENCE:?}, and the instance still keeps what it loads to itself ({after})"
    ))
    .because("An outage of Redis ends: the connection has to be made again, and used."))
}
