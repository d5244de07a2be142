//! The client leaves while its report is being made.

use std::time::Instant;

use cancelled_request_hidden::stage::{END, FOREVER_S, SOON, Stage, beside_background};
use cancelled_request_hidden::steps::Calculation;
use cancelled_request_hidden::traffic::Wanted;
use cancelled_request_hidden::visit::{LEAVES, Leave, Visit};
use harness::{Check, Failure, Outcome, ensure, tasks};

const POOL: u32 = 4;
/// More than the steps that a service may make before it looks, however rarely it looks.
const STEPS_MAX: u64 = 100;
const LINES: i64 = 600;
pub const UPLOAD_LEN: usize = 200_000;

pub const UNSEEN: &str = "The server did not see that the client had left: it reads a connection only as far as somebody asks for \
                      what comes over it, and what is unread hides the end.";

pub async fn during_the_calculation(cx: &Check) -> Outcome {
    let stage = Stage::set(cx, POOL).await?;
    stage.quick(SOON).await?;
    let mut most = (0, Leave::Fin);
    for how in LEAVES {
        let wanted = Wanted::new(format!("calculated-{how:?}"), LINES);
        let further = steps_after_leaving(&stage, &wanted, how).await?;
        if further > most.0 {
            most = (further, how);
        }
    }
    cx.measure("steps_after_leaving", most.0 as f64);
    cx.explain(
        "steps_after_leaving",
        "The calculation looks too rarely whether it is still wanted.",
        [format!(
            "{} further steps after the client had left by {:?}",
            most.0, most.1
        )],
    );
    Ok(())
}

pub async fn during_the_statement(cx: &Check) -> Outcome {
    let stage = Stage::set(cx, POOL).await?;
    stage.quick(SOON).await?;
    let background = stage.background().await;
    let (mut most, mut told) = (0.0, Vec::new());
    for how in LEAVES {
        let wanted = Wanted::slow(format!("queried-{how:?}"), FOREVER_S);
        let begun = Instant::now();
        let before = statement_ends(&stage, &wanted, how).await?;
        // An end in the audit is another check's business.
        let _ = stage.warehouse.until_ended(&wanted.id, END).await;
        stage.quiet().await;
        let after = stage.statements_after(before);
        let statements = beside_background(after.len(), background, begun.elapsed());
        if statements >= most {
            (most, told) = (statements, after);
        }
    }
    cx.measure("statements_after_leaving", most);
    cx.explain(
        "statements_after_leaving",
        "One statement ends another, and one writes it down; asking again and again whether it has ended is a load of its own.",
        told,
    );
    Ok(())
}

pub async fn after_an_upload(cx: &Check) -> Outcome {
    let stage = Stage::set(cx, POOL).await?;
    stage.quick(SOON).await?;
    for how in LEAVES {
        let wanted = Wanted::slow(format!("uploaded-{how:?}"), FOREVER_S).with_upload(UPLOAD_LEN);
        statement_ends(&stage, &wanted, how).await?;
    }
    let wanted = Wanted::new("uploaded-and-calculated", LINES).with_upload(UPLOAD_LEN);
    steps_after_leaving(&stage, &wanted, Leave::Fin).await?;
    Ok(())
}

/// The client leaves while a step is held. The step is let go once whatever the departure sets going has had its time.
async fn steps_after_leaving(stage: &Stage, wanted: &Wanted, how: Leave) -> Result<u64, Failure> {
    const HELD: u64 = 10;
    let before = tasks::alive();
    stage.steps.hold(&wanted.id, HELD);
    let visit = stage.order(wanted).await?;
    let what = format!("step {HELD} of a calculation");
    stage.steps.until(&wanted.id, &what, SOON, |of| of.held).await?;
    let seen = leave(stage, visit, wanted, how).await;
    stage.quiet().await;
    let left_over = tasks::alive() > before;
    stage.steps.release(&wanted.id);
    let over = |of: Calculation| of.ended || of.steps > HELD + STEPS_MAX;
    // A service may keep the state of a calculation that it has ended.
    let _ = stage
        .steps
        .until(&wanted.id, "the end of a calculation", END, over)
        .await;
    let further = stage.steps.of(&wanted.id).steps - HELD;
    let because = match (seen, left_over) {
        (false, _) => UNSEEN,
        (true, true) => {
            "A spawned task is not dropped with the handler's future: to stop waiting for it, or to drop its handle, is to let \
             it run."
        }
        (true, false) => {
            "A blocking closure that has begun cannot be aborted, and does not end with the task that waits for it: it has to \
             look whether it is still wanted."
        }
    };
    ensure!(
        further <= STEPS_MAX,
        because,
        "the client left ({how:?}) during step {HELD} of {}, and more than {STEPS_MAX} further steps were made",
        wanted.lines
    );
    Ok(further)
}

/// The client leaves while the warehouse is at work; returns how many statements had been sent by then.
async fn statement_ends(stage: &Stage, wanted: &Wanted, how: Leave) -> Result<usize, Failure> {
    let visit = stage.order(wanted).await?;
    stage.until_at_the_warehouse(wanted, SOON).await?;
    let (sent, counts) = (stage.tap.statements().len(), stage.tap.counts());
    let seen = leave(stage, visit, wanted, how).await;
    stage.warehouse.until_idle(END).await.map_err(|failure| {
        let now = stage.tap.counts();
        let because = if !seen {
            UNSEEN
        } else if now.sessions_open > now.connections_open {
            "To close a connection tells the server nothing: it looks at it when it next has something to read or to write, and \
             until then it works on."
        } else if now.since(&counts).pings > 0 {
            "The future was dropped and PostgreSQL was not told: the connection is on its way back to the pool, and waits there \
             for the end of the statement."
        } else {
            "The statement belongs to a task that was spawned, and such a task is not dropped with the handler's future: to \
             stop waiting for it is to let it run."
        };
        failure
            .because(because)
            .evidence(format!("the client had left by {how:?}"))
    })?;
    Ok(sent)
}

/// Whether the server saw it.
async fn leave(stage: &Stage, visit: Visit, wanted: &Wanted, how: Leave) -> bool {
    visit.leave(how);
    stage.door.until_left(&wanted.id, END).await
}
