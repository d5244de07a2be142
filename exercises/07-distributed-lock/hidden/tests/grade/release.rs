//! A job that ends without a report: by an error, by a panic, because its caller went away.

use std::sync::Arc;

use distributed_lock_hidden::desk::{Plan, Told};
use distributed_lock_hidden::stage::{Member, SOON, Stage, day};
use harness::{Check, Failure, Outcome, ensure};

use crate::faults;

pub async fn failed(cx: &Check, stage: &Stage, test: &str) -> Outcome {
    let [mut first, mut second]: [Member<'_>; 2] = stage.members(cx, test).await?;
    const FREE: &str = "A job that fails has made no report: the day is free again when `run_once` has returned, for whoever \
                        comes next, and nothing is on record.";
    stage.desk.plan(&first.name, day(0), Plan::Fail);
    let told = first.run_once(day(0)).await?;
    ensure!(
        matches!(told, Told::Failed(_)),
        "The scheduler wants to know that the job failed: `LockError::Job`.",
        "the job failed, and its replica was told {told:?}"
    );
    let told = second.run_once(day(0)).await?;
    let taken = stage.desk.book().taken_of(day(0)).len();
    ensure!(
        matches!(told, Told::Ran(_)) && taken == 1,
        FREE,
        "the first replica's job failed, and the next one was told {told:?}; {taken} reports were taken"
    );
    Ok(())
}

pub async fn cancelled(cx: &Check, stage: &Arc<Stage>, test: &str) -> Outcome {
    let [mut first, mut second]: [Member<'_>; 2] = stage.members(cx, test).await?;
    const GONE: &str = "Who renews has to end with the job that it renews for, however that ends; renewals that go on by \
                        themselves keep the day for a job that is not there any more.";
    cx.stage("the caller goes away while its job runs; another job panics");
    let call = first.hold(day(0)).await?;
    first.abort(call).await?;
    let told = stage.desk.ended(call, SOON).await?;
    ensure!(
        told == Told::Aborted,
        "A call can be given up at any `.await`.",
        "a call was given up, and told {told:?}"
    );
    stage.desk.plan(&first.name, day(1), Plan::Panic);
    let call = first.begin(day(1)).await?;
    let panicked = stage.desk.ended(call, SOON).await?;
    ensure!(
        matches!(panicked, Told::Panicked | Told::Failed(_)),
        "A job that panics has made no report.",
        "the job panicked, and its replica was told {panicked:?}"
    );
    for (n, what) in [(0, "whose caller went away"), (1, "that panicked")] {
        let told = second.until_done(day(n), stage.takeover()).await;
        let told = told.map_err(|failure| because(failure, what).because(GONE))?;
        let taken = stage.desk.book().taken_of(day(n)).len();
        ensure!(
            matches!(told, Told::Ran(_)) && taken == 1,
            "A job that was given up publishes nothing, and leaves no record of a report.",
            "after a job {what}, the next replica was told {told:?}, and {taken} reports were taken"
        );
    }
    cx.stage("a call is given up at each question, and at each answer");
    faults::abort(cx, stage).await
}

fn because(failure: Failure, what: &str) -> Failure {
    failure.evidence(format!("the day is that of a job {what}"))
}
