//! Replicas that are killed: while the job runs, before the report reaches the archive, and after.

use distributed_lock_hidden::desk::{Plan, Told};
use distributed_lock_hidden::stage::{Member, Stage, day};
use harness::{Check, Outcome, ensure};

const STUCK: &str = "Nobody is left to give the day back: it has to become free by itself, when its holder has not been heard of \
                     for `ttl`.";

pub async fn killed(cx: &Check, stage: &Stage, test: &str) -> Outcome {
    let [mut working, mut before, mut after, mut last]: [Member<'_>; 4] = stage.members(cx, test).await?;
    cx.stage("three replicas are killed, each elsewhere in its run");
    working.hold(day(0)).await?;
    for (member, n, plan) in [
        (&mut before, 1, Plan::HoldReport),
        (&mut after, 2, Plan::HoldReceipt),
    ] {
        member.hold_report(day(n), plan).await?;
    }
    for member in [&mut working, &mut before, &mut after] {
        member.replica.kill();
    }
    cx.stage("the last replica takes over");
    for n in 0..3 {
        let told = last.until_done(day(n), stage.takeover()).await;
        let told = told.map_err(|failure| failure.because(STUCK))?;
        let book = stage.desk.book();
        let taken = book.taken_of(day(n)).len();
        // A report that was taken, of which no record was made, may be made again: nobody can know.
        let right = if n == 2 {
            (1..=2).contains(&taken)
        } else {
            taken == 1 && matches!(told, Told::Ran(_))
        };
        ensure!(
            right,
            "A day is done when its report was taken, and not before.",
            "a replica was killed in the midst of day {n}; the last one was told {told:?}, and {taken} reports were taken"
        );
        let again = last.until_known_done(day(n)).await?;
        ensure!(
            again == Told::AlreadyDone,
            "A day that was taken over is done as any other.",
            "the day was taken over and done, and the next run was told {again:?}"
        );
    }
    fences_rise(stage, 3)
}

/// Of each day, the runs' fences in order of their beginning.
pub fn fences_rise(stage: &Stage, days: u32) -> Outcome {
    let book = stage.desk.book();
    for n in 0..days {
        let fences: Vec<_> = book.runs_of(day(n)).iter().map(|run| run.who.fence).collect();
        ensure!(
            fences.is_sorted_by(|one, next| one < next),
            "A fence tells the archive which of two runs is the later one: it rises with every taking of the day.",
            "the runs of one day had the fences {fences:?}, in order of their beginning"
        );
    }
    Ok(())
}
