//! What reading costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::dynamodb::Refusal;
use harness::{Check, Failure, OrObserved, Outcome, alloc, ensure, eventually, within};
use hot_partition_hidden::reader;
use hot_partition_hidden::rounds;
use hot_partition_hidden::stage::{LONG, SOON, Stage, done};
use hot_partition_hidden::traffic::{SMALL, stored};
use serde_json::json;
use tokio::task::JoinSet;

const LIMIT: usize = 50;

const RIGHT: &str = "Whatever a page costs, it has to be the right one.";

/// More rounds than any design needs that asks side by side.
const ROUNDS_MAX: usize = 12;

pub async fn cold(cx: &Check) -> Outcome {
    let stage = Stage::set(cx).await?;
    let newer = stage.events(3 * stage.shards as usize);
    stage.append_all(&stage.instance(), stage.big, &newer).await?;
    let expected = stage.all(&newer);
    let shards = f64::from(stage.shards);

    cx.stage("counting what a page costs that nobody has read before");
    // At a tap of its own: whoever has written may still be busy in the background.
    let (log, tap) = stage.instance_apart(stage.cfg(LONG))?;
    let page = done("a page", log.recent(stage.big, LIMIT, None)).await?;
    reader::shows(&page.events, &expected[..LIMIT], RIGHT)?;
    let reads = tap.counts().reads;
    cx.measure("requests_per_shard_of_a_page", reads as f64 / shards);
    cx.explain(
        "requests_per_shard_of_a_page",
        "A page needs one look at every place where its events may be, and no more.",
        [format!("{reads} requests for a page, with {shards} shards")],
    );

    cx.stage("counting how many requests of a page wait for each other");
    let (log, tap) = stage.instance_apart(stage.cfg(LONG))?;
    let customer = stage.big;
    let call = async move { log.recent(customer, LIMIT, None).await };
    let (page, rounds) = rounds::counted(&tap, ROUNDS_MAX, call).await?;
    let page = page.or_observed("a page failed")?;
    reader::shows(&page.events, &expected[..LIMIT], RIGHT)?;
    cx.measure("rounds_of_a_page", rounds as f64);
    cx.explain(
        "rounds_of_a_page",
        "Asked one after the other, shards make a reader wait for as many round trips as there are shards.",
        [format!(
            "{rounds} rounds (counting ends at {ROUNDS_MAX}), with {shards} shards"
        )],
    );
    Ok(())
}

const READERS: usize = 50;

const SHARED: &str = "Readers who ask for the same page at the same time can share one answer.";

pub async fn busy(cx: &Check) -> Outcome {
    let stage = Arc::new(Stage::set(cx).await?);
    let newer = stage.events(80);
    stage.append_all(&stage.instance(), stage.big, &newer).await?;
    let expected = Arc::new(stage.all(&newer));

    cx.stage("reading a page again and again");
    let (log, tap) = stage.instance_apart(stage.cfg(LONG))?;
    done("a page", log.recent(stage.big, LIMIT, None)).await?;
    let before = tap.counts();
    for _ in 0..20 {
        let page = done("a page", log.recent(stage.big, LIMIT, None)).await?;
        reader::shows(&page.events, &expected[..LIMIT], RIGHT)?;
    }
    let reads = tap.counts().since(&before).reads;
    cx.measure("requests_for_a_page_again", reads as f64);
    cx.explain(
        "requests_for_a_page_again",
        "Within `cache_ttl`, and with no write in between, a page that was read is known.",
        [format!("{reads} requests for 20 repetitions of a page")],
    );

    cx.stage("reading a page alone");
    let (log, tap) = stage.instance_apart(stage.cfg(LONG))?;
    done("a page", log.recent(stage.big, LIMIT, None)).await?;
    let alone = tap.counts().reads;
    ensure!(
        alone > 0,
        RIGHT,
        "an instance that has just started shows a page without a request"
    );

    cx.stage("reading a page by many at once");
    let (log, tap) = stage.instance_apart(stage.cfg(LONG))?;
    let gate = tap.hold_replies(|request| request.reads());
    let asked = Arc::new(AtomicUsize::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let (log, stage, expected, asked) = (log.clone(), stage.clone(), expected.clone(), asked.clone());
        readers.spawn(async move {
            asked.fetch_add(1, Ordering::SeqCst);
            let page = log.recent(stage.big, LIMIT, None).await;
            let page = page.or_observed("one of many readers failed")?;
            reader::shows(&page.events, &expected[..LIMIT], RIGHT)
        });
    }
    let answered = async {
        gate.until_waiting(1, SOON).await?;
        let all = eventually(SOON, "all readers' questions", async || {
            (asked.load(Ordering::SeqCst) == READERS).then_some(())
        });
        all.await?;
        gate.open();
        let answers = within(SOON, "the answers to all readers", readers.join_all()).await?;
        answers.into_iter().collect::<Result<(), Failure>>()
    };
    let answered = answered.await;
    let reads = tap.counts().reads;
    // More may have been asked at once than a machine has sockets for: the count says that, and why.
    if reads <= 2 * alone {
        answered?;
    }
    cx.measure("requests_of_many_readers", reads as f64 / alone as f64);
    cx.explain(
        "requests_of_many_readers",
        SHARED,
        [format!(
            "{reads} requests for {READERS} readers of one page, {alone} for one reader alone"
        )],
    );
    Ok(())
}

pub async fn small(cx: &Check) -> Outcome {
    let stage = Stage::set(cx).await?;
    let log = stage.instance();
    let (mut appends, mut pages) = (Vec::new(), Vec::new());
    for customer in SMALL {
        let newer = stage.events(5);
        for event in &newer {
            let before = stage.db.tap().counts();
            done("an append", log.append(customer, event.clone())).await?;
            appends.push(stage.db.tap().counts().since(&before).requests);
        }
        for log in [stage.instance(), stage.instance()] {
            let before = stage.db.tap().counts();
            let page = done("a page", log.recent(customer, LIMIT, None)).await?;
            pages.push(stage.db.tap().counts().since(&before).requests);
            reader::shows(&page.events, &stage.all(&newer)[..LIMIT], RIGHT)?;
        }
    }
    let few = "What a key account needs is paid for by every customer, if all are treated like one.";
    for (metric, counts, what) in [
        ("requests_per_small_append", appends, "append"),
        ("requests_per_small_page", pages, "page"),
    ] {
        let most = counts.iter().copied().max().unwrap_or(0);
        cx.measure(metric, most as f64);
        cx.explain(
            metric,
            few,
            [format!(
                "up to {most} requests for one {what} of a customer of the usual size"
            )],
        );
    }
    Ok(())
}

const CUSTOMERS: usize = 200;
const PAGE: usize = 100;
const BODY_LEN: usize = 800;

pub async fn bounded(cx: &Check) -> Outcome {
    let stage = Stage::set(cx).await?;
    let events: Vec<_> = stage.events(PAGE).into_iter().rev().collect();
    let rows: Vec<_> = events
        .iter()
        .map(|event| {
            let mut event = event.clone();
            event.body = "x".repeat(BODY_LEN);
            json!({ "pk": { "S": "reader" }, "sk": { "S": event.id.to_string() }, "val": { "S": stored(&event) } })
        })
        .collect();
    // The grader answers itself: what matters here is what the instance does with it.
    let answer = json!({ "Items": rows, "Count": PAGE, "ScannedCount": PAGE });
    let nothing = json!({ "Items": [], "Count": 0, "ScannedCount": 0 });
    let _answers = stage.db.tap().answer_instead(move |request| {
        let key = &request.accesses.first()?.partition_key;
        let (_, of) = key
            .split_once("reader-")
            .filter(|_| request.operation == "Query")?;
        // Of keys that a fix has made, a customer that has never written has nothing.
        let all = of.bytes().all(|byte| byte.is_ascii_digit());
        Some(Refusal::Answer(if all {
            answer.clone()
        } else {
            nothing.clone()
        }))
    });
    let log = stage.instance();
    // Connections and buffers are not what is measured.
    for n in 0..4 {
        read(&log, n).await?;
    }
    let before = alloc::settled().await.live_bytes;
    for n in 4..CUSTOMERS {
        read(&log, n).await?;
        cx.beat();
    }
    let after = alloc::settled().await.live_bytes;
    let kept = after.saturating_sub(before) as f64;
    cx.measure("bytes_kept_for_readers", kept);
    cx.explain(
        "bytes_kept_for_readers",
        "What is kept for readers must have a bound: there are more customers than there is memory.",
        [format!(
            "{kept} bytes are kept after pages of {CUSTOMERS} customers were read once each"
        )],
    );
    drop(log);
    Ok(())
}

async fn read(log: &hot_partition_hidden::subject::EventLog, n: usize) -> Outcome {
    let page = done("a page", log.recent(&format!("reader-{n}"), PAGE, None)).await?;
    ensure!(
        page.events.len() == PAGE,
        RIGHT,
        "a page of {PAGE} events has {}",
        page.events.len()
    );
    Ok(())
}
