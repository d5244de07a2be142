//! A thousand events of one customer in one second.

use std::time::Duration;

use harness::dynamodb::Limit;
use harness::{Check, Failure, Outcome, ensure};
use hot_partition_hidden::burst::{Burst, send};
use hot_partition_hidden::reader;
use hot_partition_hidden::stage::Stage;

const EVENTS: usize = 1_000;

/// What each of the eight partitions may do in one window.
const LIMIT: Limit = Limit {
    write_units: 450.0,
    read_units: 1_200.0,
};

/// A fix that finds its way needs a second attempt for what was refused, and perhaps a note of it.
const WRITES_MAX: usize = 3;

/// While the traffic is new, a window is as long as the store's.
const WINDOW: Duration = Duration::from_secs(1);

const RETRIES: &str =
    "What one partition key may take is fixed: asking again spends it, and brings no more of it.";
const FEW_KEYS: &str =
    "What one customer writes has too few keys: a partition key lies on one partition, whole.";
const ONE_KEY: &str = "Everything that one customer writes goes to one partition, however many there are.";

pub async fn taken(cx: &Check) -> Outcome {
    let stage = Stage::set(cx).await?;
    let (log, tap) = (stage.instance(), stage.db.tap().clone());
    stage.db.limit(Some(LIMIT));

    cx.stage("the first burst, in which an instance may still learn who is busy");
    let db = stage.db.clone();
    let mut windows = 0;
    let tick = || {
        if windows > 0 {
            db.tick();
        }
        windows += 1;
        Some(WINDOW)
    };
    let first = send(
        &log,
        &tap,
        stage.big,
        stage.events(EVENTS),
        WRITES_MAX,
        Duration::from_secs(12),
        tick,
    )
    .await;
    not_a_storm(&first, &stage)?;

    cx.stage("the same again, in one window");
    stage.db.tick();
    let patience = Duration::from_secs(6);
    let second = send(
        &log,
        &tap,
        stage.big,
        stage.events(EVENTS),
        WRITES_MAX,
        patience,
        || None,
    )
    .await;
    not_a_storm(&second, &stage)?;
    let window = stage.db.tick();
    let because = match second.writes_per_append() > 1.1 && window.busiest_write_share() > 0.5 {
        true => RETRIES,
        false => ONE_KEY,
    };
    ensure!(
        second.acknowledged.len() == second.sent,
        because,
        "{} of {EVENTS} appends failed ({}) and {} had no answer, with {} write units by partition {}",
        second.refused.len(),
        second.refused.first().map_or("none", String::as_str),
        second.unanswered(),
        LIMIT.write_units,
        window.shown_writes()
    );
    let share = window.busiest_write_share();
    cx.measure("busiest_partition_share_of_writes", share);
    cx.explain(
        "busiest_partition_share_of_writes",
        FEW_KEYS,
        [format!("write units by partition: {}", window.shown_writes())],
    );
    cx.measure("writes_per_append", second.writes_per_append());
    cx.explain(
        "writes_per_append",
        "Every write beyond the event itself is taken from the same capacity.",
        [format!("{} writes for {EVENTS} appends", second.writes)],
    );

    cx.stage("reading all of it");
    stage.db.limit(None);
    let written: Vec<_> = first
        .acknowledged
        .into_iter()
        .chain(second.acknowledged)
        .collect();
    let len = stage.history.len() + 2 * EVENTS;
    let shown = reader::everything(&stage.instance(), stage.big, 300, len).await?;
    reader::holds(
        &shown,
        &written,
        "An append that was acknowledged has to be found by every reader.",
    )?;
    reader::in_order(&shown)
}

fn not_a_storm(burst: &Burst, stage: &Stage) -> Outcome {
    if !burst.stormed {
        return Ok(());
    }
    let shown = stage.db.window().shown_writes();
    Err(Failure::new(format!(
        "{} writes for {} appends, of which {} were acknowledged and {} writes refused",
        burst.writes,
        burst.sent,
        burst.acknowledged.len(),
        burst.throttled
    ))
    .because(RETRIES)
    .evidence(format!("write units by partition in the last window: {shown}")))
}
