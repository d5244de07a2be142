//! Clients who leave while the warehouse works, and the connections that they leave behind.

use std::time::Duration;

use cancelled_request_hidden::stage::{END, FOREVER_S, SOON, Stage};
use cancelled_request_hidden::traffic::Wanted;
use cancelled_request_hidden::visit::LEAVES;
use harness::{Check, Failure, OrObserved, Outcome, ensure};

/// What the contract gives the start page.
const QUICK: Duration = Duration::from_secs(5);
/// For the next one to get to the warehouse.
const NEXT: Duration = Duration::from_secs(6);

pub async fn usable(cx: &Check) -> Outcome {
    let pool = cx.draw("connections of the pool", &[2_u32, 3, 4]);
    let stage = Stage::set(cx, pool).await?;
    stage.quick(SOON).await?;
    let mut visits = Vec::new();
    let wanted: Vec<_> = (0..pool)
        .map(|n| Wanted::slow(format!("impatient-{n}"), FOREVER_S))
        .collect();
    for wanted in &wanted {
        visits.push(stage.order(wanted).await?);
    }
    stage.until_no_more_come(&wanted).await?;
    for (n, visit) in visits.into_iter().enumerate() {
        visit.leave(LEAVES[n % LEAVES.len()]);
    }
    let because = "A connection whose statement still runs is no connection: it is missing in the pool until the statement ends, \
                   and what ends the statement must not have to wait for a connection of the pool.";
    let quick = stage
        .quick(QUICK)
        .await
        .map_err(|failure| failure.because(because))?;
    if quick.status != 200 {
        let mut failure = Failure::new(format!(
            "{pool} clients left a pool of {pool}, and the start page was answered {} {}",
            quick.status, quick.body
        ))
        .because(because);
        for line in stage.warehouse.busy().await? {
            failure = failure.evidence(line);
        }
        return Err(failure);
    }
    Ok(())
}

pub async fn sessions(cx: &Check) -> Outcome {
    let pool = cx.draw("connections of the pool", &[2_u32, 3]);
    let stage = Stage::set(cx, pool).await?;
    fill(&stage, pool).await?;

    let (at_once_max, kept_max) = (u64::from(2 * pool + 2), u64::from(pool + 2));
    let departures = 4 * pool;
    let mut before = stage.tap.counts();
    for n in 0..departures {
        let wanted = Wanted::slow(format!("impatient-{n}"), FOREVER_S);
        let visit = stage.order(&wanted).await?;
        let asked = stage.until_at_the_warehouse(&wanted, NEXT).await;
        asked.map_err(|failure| {
            failure
                .because("Those who left still hold the connections, and whoever comes next waits for one.")
                .evidence(format!(
                    "{n} clients had left before; the pool has {pool} connections"
                ))
        })?;
        visit.leave(LEAVES[n as usize % LEAVES.len()]);
        stage.door.until_left(&wanted.id, END).await;
        // A fix may take a moment, and the next client another one to come.
        let _ = stage.warehouse.until_idle(Duration::from_millis(500)).await;
        let open = stage.tap.counts().sessions_open;
        ensure!(
            open <= at_once_max,
            "A connection that is closed or thrown away frees a place in the pool at once, and the server works on: every client \
             that leaves adds a session that nobody counts.",
            "{open} sessions at the server, with a pool of {pool}, after {} clients had left one after the other (at most {at_once_max})",
            n + 1
        );
        if n == 0 {
            // What is opened once and kept is no matter.
            stage.quiet().await;
            before = stage.tap.counts();
        }
    }
    let kept = harness::eventually(END, "the end of the sessions that were left behind", async || {
        (stage.tap.counts().sessions_open <= kept_max).then_some(())
    });
    kept.await.map_err(|failure| {
        failure
            .because("What was opened to clean up has to be closed again.")
            .evidence(format!(
                "{} sessions at the server, with a pool of {pool}",
                stage.tap.counts().sessions_open
            ))
    })?;
    stage.quiet().await;
    let opened = stage.tap.counts().since(&before).attempts;
    let counted = departures - 1;
    let per_departure = opened as f64 / f64::from(counted);
    cx.measure("connections_per_departure", per_departure);
    cx.explain(
        "connections_per_departure",
        "That a statement was cancelled is the answer that was asked for, and no reason to throw its connection away.",
        [format!("{opened} connections were opened for {counted} departures")],
    );
    Ok(())
}

/// Makes the pool open all its connections.
async fn fill(stage: &Stage, pool: u32) -> Outcome {
    let answers = stage.tap.hold_replies(|request| request.runs("slow_rows"));
    let wanted: Vec<_> = (0..pool)
        .map(|n| Wanted::new(format!("filling-{n}"), 2))
        .collect();
    let mut visits = Vec::new();
    for wanted in &wanted {
        visits.push(stage.order(wanted).await?);
    }
    stage.until_no_more_come(&wanted).await?;
    drop(answers);
    for visit in visits {
        let answer = visit.answer(SOON, "the answer to a report").await?;
        (answer.status == 200)
            .then_some(())
            .or_observed(format!("a report was answered {} {}", answer.status, answer.body))?;
    }
    stage.quiet().await;
    Ok(())
}
