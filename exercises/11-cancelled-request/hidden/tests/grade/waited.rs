//! Clients who stay.

use cancelled_request_hidden::stage::{FOREVER_S, SOON, Stage, beside_background};
use cancelled_request_hidden::traffic::Wanted;
use cancelled_request_hidden::visit::{Answer, LEAVES, Leave};
use harness::{Check, OrObserved, Outcome, ensure};
use std::time::{Duration, Instant};

const NO_END: &str = "Whoever looks at the records cannot tell a report that failed from one that is still being made: it ends \
                      as `failed`, once, with no rows.";
const POOL: u32 = 4;
const REPORTS: usize = 3;
/// Longer than what anybody might take for too long.
const LONG_S: f64 = 6.0;

pub async fn finished(cx: &Check) -> Outcome {
    let stage = Stage::set(cx, POOL).await?;
    stage.quick(SOON).await?;
    undisturbed(cx, &stage).await?;
    without_a_price(&stage).await?;
    without_sense(&stage).await?;
    beside_those_who_leave(&stage).await
}

/// Whoever stays is told why there is no report, and so are the auditors.
async fn without_a_price(stage: &Stage) -> Outcome {
    stage.prices.fail("closed");
    let wanted = Wanted::new("without-a-price", 5).in_market("closed");
    let answer = stage.make(&wanted, SOON).await?;
    ensure!(
        answer.status == 502,
        "A price service that fails is its client's reason, and not the service's own.",
        "without a price {} was answered {} {}",
        wanted.id,
        answer.status,
        answer.body
    );
    let record = stage.warehouse.until_ended(&wanted.id, SOON).await;
    let record = record.map_err(|failure| failure.because(NO_END))?;
    ensure!(
        record.starts() == 1 && record.ends() == ["failed"] && record.rows == 0,
        NO_END,
        "without a price the records say {:?} and {} rows",
        record.events,
        record.rows
    );
    Ok(())
}

/// A request that can be no report.
async fn without_sense(stage: &Stage) -> Outcome {
    let answer = stage.make(&Wanted::new("without-lines", 0), SOON).await?;
    ensure!(
        answer.status == 400,
        "A request that makes no sense is told so.",
        "a report of no lines was answered {} {}",
        answer.status,
        answer.body
    );
    Ok(())
}

/// What a report costs that nobody gives up.
async fn undisturbed(cx: &Check, stage: &Stage) -> Outcome {
    let background = stage.background().await;
    let mut runs = Vec::new();
    let mut connections = u64::MAX;
    for n in 0..=REPORTS {
        let wanted = Wanted::new(format!("waited-for-{n}"), 5);
        let (sent, before, begun) = (stage.tap.statements().len(), stage.tap.counts(), Instant::now());
        let answer = stage.make(&wanted, SOON).await?;
        right(stage, &wanted, &answer).await?;
        stage.quiet().await;
        // The first of all may find something to prepare.
        if n > 0 {
            let told = stage.statements_after(sent);
            runs.push((beside_background(told.len(), background, begun.elapsed()), told));
            // A pool may grow at any time; what every report opens is its own.
            connections = connections.min(stage.tap.counts().since(&before).attempts);
        }
    }
    let quick = stage.quick(SOON).await?;
    ensure!(
        quick.status == 200 && quick.body.trim() == (REPORTS + 1).to_string(),
        "The start page tells how many reports are done.",
        "after {} reports the start page was answered {} {}",
        REPORTS + 1,
        quick.status,
        quick.body
    );
    runs.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (statements, told) = runs.swap_remove(REPORTS / 2);
    cx.measure("statements_per_report", statements);
    cx.explain(
        "statements_per_report",
        "What makes a report easy to give up has to cost next to nothing while nobody does.",
        told,
    );
    cx.measure("connections_per_report", connections as f64);
    cx.explain(
        "connections_per_report",
        "What may be needed to give a report up is opened when it is needed.",
        [format!(
            "{connections} connections or more were opened for each of {REPORTS} reports"
        )],
    );
    Ok(())
}

/// Somebody leaves while the warehouse works for both, and somebody while both are calculated.
async fn beside_those_who_leave(stage: &Stage) -> Outcome {
    let stays = Wanted {
        adjustments: vec![(7, 1_000), (40, -3)],
        ..Wanted::slow("staying", LONG_S)
    };
    let leaves = Wanted::slow("leaving-the-warehouse", FOREVER_S);
    stage.steps.hold(&stays.id, 5);
    let staying = stage.order(&stays).await?;
    let leaving = stage.order(&leaves).await?;
    stage.until_at_the_warehouse(&stays, SOON).await?;
    stage.until_at_the_warehouse(&leaves, SOON).await?;
    leaving.leave(Leave::Fin);

    let at_step_5 = stage.steps.until(
        &stays.id,
        "the calculation of whoever stays",
        SOON + Duration::from_secs(5),
        |of| of.held,
    );
    tokio::select! {
        held = at_step_5 => held.map_err(|failure| {
            failure.because("One client's departure, or a limit that is shorter than the report takes, ended another's report.")
        })?,
        () = ended(stage, &stays.id) => {}
    }
    for how in LEAVES {
        let leaves = Wanted::new(format!("leaving-the-calculation-{how:?}"), 40);
        stage.steps.hold(&leaves.id, 3);
        let leaving = stage.order(&leaves).await?;
        let held = stage.steps.until(&leaves.id, "a calculation", SOON, |of| of.held);
        held.await?;
        leaving.leave(how);
        stage.door.until_left(&leaves.id, Duration::from_secs(2)).await;
        stage.quiet().await;
        stage.steps.release(&leaves.id);
    }
    stage.steps.release(&stays.id);
    let answer = staying.answer(SOON, "the answer to whoever stayed").await?;
    right(stage, &stays, &answer).await
}

/// Returns when the audit tells an end of a report that ought to be under way.
async fn ended(stage: &Stage, report: &str) {
    let ended = stage.warehouse.until_ended(report, SOON * 3).await;
    if ended.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn right(stage: &Stage, wanted: &Wanted, answer: &Answer) -> Outcome {
    ensure!(
        answer.status == 200,
        "One client's departure, or a limit that is shorter than the report takes, ended another's report.",
        "{}, whose client stayed, was answered {} {}",
        wanted.id,
        answer.status,
        answer.body
    );
    let told: serde_json::Value = serde_json::from_str(&answer.body).or_observed("the answer is no JSON")?;
    let told = (told["lines"].as_i64(), told["total_cents"].as_i64());
    ensure!(
        told == (Some(wanted.lines), Some(wanted.total_cents())),
        "A report is worth nothing if it is wrong.",
        "{} has {told:?} as lines and total, and should have {} and {}",
        wanted.id,
        wanted.lines,
        wanted.total_cents()
    );
    let record = stage.warehouse.until_ended(&wanted.id, SOON).await?;
    ensure!(
        record.events == ["started", "done"]
            && (record.rows, record.total_cents) == (wanted.lines, wanted.total_cents()),
        "A report that was answered is stored and in the audit.",
        "of {} the records say {record:?}",
        wanted.id
    );
    Ok(())
}
