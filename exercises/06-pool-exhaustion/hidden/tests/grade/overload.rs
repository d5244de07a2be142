//! More to do than the database can take.

use std::time::Duration;

use harness::{Check, Failure, Outcome, ensure, eventually};
use pool_exhaustion_hidden::calls::Gets;
use pool_exhaustion_hidden::stage::{SOON, Stage};
use pool_exhaustion_hidden::subject::{BreakerState, OrderError, Stats};

/// Whoever comes when the house is full.
const CROWD: usize = 1_000;
const GETS: usize = 12;

const NOT_SHED: &str = "Everything waits and nothing is refused while the database stands still: the queue has no end, and \
                        grows until the callers give up or the memory does.";

pub fn overloaded(err: &OrderError) -> bool {
    matches!(err, OrderError::Overloaded { .. })
}

/// A house that is full: `max_db` requests are in the database and stay there, and `queue` wait.
pub async fn fill(stage: &Stage) -> Result<Gets, Failure> {
    let mut gets = Gets::send(&stage.orders, stage.cfg.max_db);
    let all_in = |stats: Stats| stats.in_db + stats.queued;
    wait_for(stage, |stats| all_in(stats) == stage.cfg.max_db).await;
    gets.send_more(&stage.orders, stage.cfg.queue);
    wait_for(stage, |stats| all_in(stats) == stage.cfg.max_db + stage.cfg.queue).await;
    Ok(gets)
}

/// Waits until the replica says so. Decides nothing: whether it tells the truth is another check's.
pub async fn wait_for(stage: &Stage, told: impl Fn(Stats) -> bool) {
    let told = async || told(stage.orders.stats()).then_some(());
    eventually(Duration::from_secs(3), "", told).await.ok();
}

pub async fn refused(cx: &Check) -> Outcome {
    let max_db = cx.draw("max_db", &[2, 3, 5]);
    let queue = cx.draw("queue", &[8, 20, 40]);
    let stage = Stage::set(cx, max_db, queue, |_| ()).await?;
    stage.warm().await?;
    round_trips(cx, &stage).await?;

    cx.stage("the database stands still, and the house is full");
    let before = stage.tap.counts();
    let arrived = stage.tap.statements().len();
    let gate = stage.tap.hold_requests(|request| request.runs_data());
    let inside = fill(&stage).await?;
    gate.until_waiting(max_db, SOON).await.map_err(|failure| {
        failure.because("`max_db` requests may be in the database at one time, and no fewer.")
    })?;
    cx.stage("a thousand more come");
    let crowd = Gets::send(&stage.orders, CROWD);
    let shed = crowd.until_answered(CROWD, SOON, NOT_SHED).await;
    ensure!(
        gate.waiting() <= max_db,
        "The limits of several pools or semaphores add up: what may be in the database is counted for the whole replica.",
        "{} statements are in the database at one time, and max_db is {max_db}",
        gate.waiting()
    );
    shed?;
    let served = crowd.right_or(
        overloaded,
        "with every place taken",
        "A request that finds no place is told so: nothing was done, and it may be sent again later.",
    )?;
    ensure!(
        served == 0,
        "The database has stood still: these answers cannot have come from there.",
        "{served} requests were answered with an order while the database answered nobody"
    );
    ensure!(
        inside.answered() == 0,
        "Those who have a place keep it: the queue is as long as it was configured.",
        "{} of the first {} requests have been answered while the database answered nobody, the first with {:?}",
        inside.answered(),
        inside.sent(),
        inside.answers().first()
    );
    cx.stage("the database goes on");
    gate.open();
    inside
        .all_right(
            SOON,
            "once the database went on",
            "Who has waited in the queue gets served.",
        )
        .await?;
    stage.settle().await;
    let asked = |statement: &&harness::postgres::Statement| {
        statement.data && statement.sql.to_ascii_lowercase().contains("order")
    };
    let statements = stage.tap.statements_after(arrived);
    let statements = statements.iter().filter(asked).count();
    let surplus = statements.saturating_sub(inside.sent());
    cx.measure("statements_for_refused_requests", surplus as f64);
    cx.explain(
        "statements_for_refused_requests",
        "A request is refused before it costs anything, or refusing does not help.",
        [format!(
            "{statements} statements for {} requests that were served and {CROWD} that were refused; connections \
             opened: {}",
            inside.sent(),
            stage.tap.counts().since(&before).connections_total
        )],
    );
    Ok(())
}

/// What a get costs once its connection is warm.
async fn round_trips(cx: &Check, stage: &Stage) -> Outcome {
    let mut runs = Vec::new();
    for _ in 0..GETS {
        let before = stage.tap.counts();
        Gets::send(&stage.orders, 1)
            .all_right(SOON, "with nothing in the way", "A quiet database answers.")
            .await?;
        stage.settle().await;
        runs.push(stage.tap.counts().since(&before).round_trips);
    }
    runs.sort_unstable();
    cx.measure("round_trips_per_get", runs[GETS / 2] as f64);
    cx.explain(
        "round_trips_per_get",
        "What is set up and taken down around every statement is paid by every request, and holds the connection \
         meanwhile.",
        [format!("round trips of {GETS} requests: {runs:?}")],
    );
    Ok(())
}

pub async fn waiting(cx: &Check) -> Outcome {
    let max_db = cx.draw("max_db", &[2, 4]);
    let queue = cx.draw("queue", &[6, 10]);
    let wait = cx.draw(
        "queue_wait",
        &[Duration::from_millis(400), Duration::from_millis(700)],
    );
    let stage = Stage::set(cx, max_db, queue, |cfg| cfg.queue_wait = wait).await?;
    stage.warm().await?;

    cx.stage("the database stands still, and requests wait");
    let gate = stage.tap.hold_requests(|request| request.runs_data());
    let inside = Gets::send(&stage.orders, max_db);
    gate.until_waiting(max_db, SOON).await?;
    for round in 1..=2 {
        let waiting = Gets::send(&stage.orders, queue);
        // The quickest of them says how long the queue waits; a slow machine makes the others late.
        let in_time = waiting
            .until_answered(
                1,
                wait + Duration::from_millis(1_500),
                "`queue_wait` says how long a request waits for its turn, and not a patience of the queue's own.",
            )
            .await;
        waiting
            .until_answered(
                queue,
                SOON,
                "A queue without a time limit answers people who have long gone, and makes everybody behind them wait.",
            )
            .await?;
        in_time?;
        let served = waiting.right_or(
            overloaded,
            "with the time for waiting over",
            "Whoever has waited in vain is told that there is too much to do.",
        )?;
        ensure!(
            served == 0,
            "The database has stood still: these answers cannot have come from there.",
            "{served} requests of round {round} were answered while the database answered nobody"
        );
    }
    ensure!(
        inside.answered() == 0,
        "`queue_wait` is for the queue: a request that has its turn goes by `query_deadline`.",
        "{} requests that had their turn were answered while the database answered nobody",
        inside.answered()
    );
    gate.open();
    inside
        .all_right(
            SOON,
            "once the database went on",
            "A request that has its turn is served.",
        )
        .await?;
    // The queue is as patient as it was; so that a busy machine does not count, again and again.
    let again = async || {
        let gets = Gets::send(&stage.orders, max_db);
        gets.until_answered(max_db, SOON, "").await.ok()?;
        gets.right_or(|_| false, "after the rush", "").ok()
    };
    eventually(
        SOON,
        "another answer to all requests that have a connection",
        again,
    )
    .await
    .map(drop)
    .map_err(|failure| {
        failure.because("Those who have waited in vain must leave their places free for others.")
    })
}

pub async fn stats(cx: &Check) -> Outcome {
    let max_db = cx.draw("max_db", &[2, 3]);
    let queue = cx.draw("queue", &[4, 7]);
    let refused: usize = 5;
    let stage = Stage::set(cx, max_db, queue, |_| ()).await?;
    stage.warm().await?;
    let gate = stage.tap.hold_requests(|request| request.runs_data());
    let inside = fill(&stage).await?;
    gate.until_waiting(max_db, SOON).await?;
    let crowd = Gets::send(&stage.orders, refused);
    crowd.until_answered(refused, SOON, NOT_SHED).await?;
    let expected = Stats {
        in_db: max_db,
        queued: queue,
        rejected: refused as u64,
        breaker_state: BreakerState::Closed,
    };
    told(&stage, expected, "with every place taken").await?;
    gate.open();
    inside
        .all_right(
            SOON,
            "once the database went on",
            "Who has waited in the queue gets served.",
        )
        .await?;
    let expected = Stats {
        in_db: 0,
        queued: 0,
        ..expected
    };
    told(&stage, expected, "with nothing to do").await
}

async fn told(stage: &Stage, expected: Stats, when: &str) -> Outcome {
    let asked = async || (stage.orders.stats() == expected).then_some(());
    eventually(Duration::from_secs(5), "", asked).await.map_err(|_| {
        Failure::new(format!(
            "{when}, the replica reports {:?} instead of {expected:?}",
            stage.orders.stats()
        ))
        .because("Who is on call steers by these figures: they have to say what is.")
    })
}
