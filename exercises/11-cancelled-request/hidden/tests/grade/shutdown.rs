//! The instance is shut down while reports are being made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cancelled_request_hidden::stage::{END, FOREVER_S, SOON, Stage, database};
use cancelled_request_hidden::traffic::Wanted;
use harness::{Check, Failure, Machine, OrObserved, Outcome, ensure, tasks, within};

const POOL: u32 = 4;
/// The few seconds that shutdown may take after its grace.
const RETURNS: Duration = Duration::from_secs(5);

pub async fn ends_everything(cx: &Check) -> Outcome {
    let (finish, leave) = tokio::join!(lets_finish(cx), leaves_nothing(cx));
    finish.and(leave)
}

/// One report can finish within the grace and one cannot. The process ends as soon as shutdown returns.
async fn lets_finish(cx: &Check) -> Outcome {
    const GRACE: Duration = Duration::from_secs(4);
    /// What ends a statement takes its time, and shutdown has to wait for it.
    const CANCELLING: Duration = Duration::from_millis(400);
    let (machine, stage) = on_a_machine(cx).await?;
    let slow = stage.tap.delay(
        |request| request.runs("pg_cancel_backend") || request.runs("pg_terminate_backend"),
        CANCELLING,
    );
    let (finishes, ends) = (Wanted::new("finishes", 5), Wanted::slow("has-to-end", FOREVER_S));
    let marker = finishes.marker();
    let answer = stage
        .tap
        .hold_replies(move |request| request.runs("slow_rows") && request.mentions(&marker));
    let finishing = stage.order(&finishes).await?;
    answer.until_waiting(1, SOON).await?;
    let ending = stage.order(&ends).await?;
    stage.until_at_the_warehouse(&ends, SOON).await?;

    let (shutting_down, begun) = (machine.run(stage.state.clone().shutdown(GRACE)), Instant::now());
    // The machine has one thread: after this, shutdown has begun.
    machine.run(async {}).await.ok();
    drop(answer);
    let finished = finishing
        .answer(SOON, "the answer to a report that could finish")
        .await?;
    let took = begun.elapsed();
    if finished.status != 200 && took > GRACE / 4 * 3 {
        return Err(Failure::inconclusive(format!(
            "what has to end within a grace of {GRACE:?} took {took:?}"
        )));
    }
    ensure!(
        finished.status == 200,
        "Shutdown has to let reports finish: as long as they run they need what it would take away from them.",
        "a report that needed a fraction of the grace was answered {} {}",
        finished.status,
        finished.body
    );
    let down = within(GRACE + RETURNS, "the end of shutdown", shutting_down).await.map_err(|failure| {
        failure.because(
            "Shutdown waits for what it has not ended: what is not told to stop goes on for as long as it likes.",
        )
    })?;
    down.or_observed("shutdown panicked")?;
    machine.stop().await;
    drop(slow);
    drop(ending);
    stage.warehouse.until_idle(END).await.map_err(|failure| {
        failure.because(
            "Shutdown returned before the server had ended the statement: what cleans up after a report has to be waited for as \
             the report is.",
        )
    })?;
    for (wanted, end, rows) in [(&finishes, "done", finishes.lines), (&ends, "cancelled", 0)] {
        recorded(&stage, wanted, end, rows).await?;
    }
    Ok(())
}

/// Nothing that was under way is left, in the runtime or anywhere else.
async fn leaves_nothing(cx: &Check) -> Outcome {
    const GRACE: Duration = Duration::from_millis(300);
    let (machine, stage) = on_a_machine(cx).await?;
    let alive = async || machine.run(async { tasks::alive() }).await.or_observed("a panic");
    let before = alive().await?;
    stage.prices.hold("slow");
    let asking = Wanted::new("asks-for-the-price", 5).in_market("slow");
    let calculating = Wanted::new("calculates", 90_000);
    let querying = Wanted::slow("queries", FOREVER_S);
    let mut visits = vec![stage.order(&asking).await?, stage.order(&querying).await?];
    let asked = stage
        .prices
        .until("slow", "the price request", SOON, |asked| asked.arrived == 1);
    asked.await?;
    stage.until_at_the_warehouse(&querying, SOON).await?;
    visits.push(stage.order(&calculating).await?);
    let begun = stage
        .steps
        .until(&calculating.id, "a calculation", SOON, |of| of.steps > 3);
    begun.await?;

    let shutting_down = machine.run(stage.state.clone().shutdown(GRACE));
    let down = within(GRACE + RETURNS, "the end of shutdown", shutting_down).await.map_err(|failure| {
        failure.because(
            "Shutdown waits for what it has not ended: what is not told to stop goes on for as long as it likes.",
        )
    })?;
    down.or_observed("shutdown panicked")?;
    let because = "Shutdown returned, and what it should have ended or waited for is still there: the process would end in the \
                   middle of it.";
    let steps = stage.steps.of(&calculating.id).steps;
    let ended = stage
        .steps
        .until(&calculating.id, "the end of the calculation", END, |of| {
            of.ended || of.steps > steps + 100
        });
    let _ = ended.await;
    let further = stage.steps.of(&calculating.id).steps - steps;
    ensure!(
        further <= 100,
        because,
        "more than 100 steps were made after shutdown had returned"
    );
    for visit in visits {
        let _ = visit.answer(SOON, "an answer").await;
    }
    let left = machine.run(tasks::settle(before)).await.or_observed("a panic")?;
    ensure!(
        left <= before,
        because,
        "{left} tasks are alive after shutdown, {before} were before the first report"
    );
    let idle = stage.warehouse.until_idle(END).await;
    idle.map_err(|failure| failure.because(because))?;
    for wanted in [&asking, &calculating, &querying] {
        recorded(&stage, wanted, "cancelled", 0).await?;
    }
    Ok(())
}

async fn recorded(stage: &Stage, wanted: &Wanted, end: &str, rows: i64) -> Outcome {
    let record = stage.warehouse.record(&wanted.id).await?;
    ensure!(
        record.ends() == [end] && record.rows == rows,
        "Shutdown has to wait until the records are complete.",
        "after shutdown the records of {} are {:?} and {} rows; expected {end} and {rows}",
        wanted.id,
        record.events,
        record.rows
    );
    Ok(())
}

async fn on_a_machine(cx: &Check) -> Result<(Machine, Arc<Stage>), Failure> {
    let pg = database(cx).await?;
    let (url, machine) = (pg.url(), Machine::start()?);
    let set = Stage::on(cx, pg, &url, POOL, &machine).await?;
    set.quick(SOON).await?;
    set.quiet().await;
    Ok((machine, Arc::new(set)))
}
