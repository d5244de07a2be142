//! A job that takes longer than `ttl`, with servers that answer, and with servers that do not.

use distributed_lock_hidden::desk::{Plan, Told};
use distributed_lock_hidden::stage::{Member, SOON, Stage, day};
use harness::{Check, Outcome, ensure};

const LONG: &str = "`ttl` is how long a replica of which nothing is heard keeps its day, and not how long a job may take: while the \
                    job runs, its replica has to be heard of every `renew_every`.";

const ONCE: &str = "A connection that breaks is no loss: until `ttl` is over there is time to be heard on another one, and hours of work \
                    hang on it.";

pub async fn long(cx: &Check, stage: &Stage, test: &str) -> Outcome {
    let mut members: [Member<'_>; 3] = stage.members(cx, test).await?;
    let [holder, others @ ..] = &mut members;
    cx.stage("a job of three `ttl`");
    let call = holder.hold(day(0)).await?;
    let begun = tokio::time::Instant::now();
    let mut cut = false;
    while begun.elapsed() < 3 * stage.ttl {
        if !cut && stage.has_leases() && begun.elapsed() > stage.ttl {
            holder.taps.cut_leases();
            cut = true;
        }
        for other in others.iter_mut() {
            let asked = tokio::time::Instant::now();
            let told = other.run_once(day(0)).await?;
            // The server that answers this one answers renewals.
            stage.desk.late(asked.elapsed());
            ensure!(
                matches!(told, Told::HeldBy(_)),
                if cut { ONCE } else { LONG },
                "{:?} after its beginning a job still ran, with a `ttl` of {:?}, and another replica was told {told:?}",
                begun.elapsed(),
                stage.ttl
            );
        }
        tokio::time::sleep(stage.renew_every / 2).await;
    }
    let lost = stage
        .desk
        .book()
        .run(&holder.name, day(0))
        .is_some_and(|run| run.lost || run.dropped);
    ensure!(
        !lost,
        if cut { ONCE } else { LONG },
        "the servers answered all the time, and the job was told that its day is lost (connections broke once: {cut})"
    );
    stage.desk.plan(&holder.name, day(0), Plan::Report);
    let told = stage.desk.ended(call, SOON).await?;
    let taken = stage.desk.book().taken_of(day(0)).len();
    ensure!(
        matches!(told, Told::Ran(_)) && taken == 1,
        LONG,
        "a job of three `ttl` ended, its replica was told {told:?}, and {taken} reports were taken"
    );
    Ok(())
}

pub async fn lost(cx: &Check, stage: &Stage, test: &str) -> Outcome {
    let [mut first, mut second]: [Member<'_>; 2] = stage.members(cx, test).await?;
    const UNHEARD: &str = "A replica that cannot make itself heard for `ttl` has lost its day, whether or not anybody tells it so: it \
                           has to know that by its own clock, and no answer that does not come may keep it from it.";
    let call = first.hold(day(0)).await?;
    cx.stage("the network ends between a replica and its servers");
    let holes = first.taps.black_hole();
    told_of_the_loss(stage, &first, call)
        .await
        .map_err(|failure| failure.because(UNHEARD))?;
    stage.end_sessions(&first).await?;
    let told = second.until_done(day(0), stage.takeover()).await?;
    drop(holes);
    stage.desk.plan(&first.name, day(0), Plan::Report);
    let late = stage.desk.ended(call, SOON).await?;
    only_the_second(stage, &first, &second, 0)?;
    ensure!(
        !matches!(late, Told::Ran(_)),
        UNHEARD,
        "a replica lost its day, another one was told {told:?}, and the first one was told {late:?}"
    );
    Ok(())
}

/// The job hears of it, or is ended.
pub async fn told_of_the_loss(stage: &Stage, member: &Member<'_>, call: u64) -> Outcome {
    let what = "the end of `ctx.lost()`, or of the job,";
    stage
        .desk
        .until(what, 3 * stage.ttl, |book| {
            let run = book.run(&member.name, day(0))?;
            (run.lost || run.dropped || book.ended.contains_key(&call)).then_some(())
        })
        .await
}

/// Whoever had lost the day has published nothing, and its successor once.
pub fn only_the_second(stage: &Stage, first: &Member<'_>, second: &Member<'_>, n: u32) -> Outcome {
    let book = stage.desk.book();
    let taken: Vec<_> = book.taken_of(day(n)).into_iter().cloned().collect();
    let by = |member: &Member<'_>| taken.iter().filter(|who| who.replica == member.name).count();
    ensure!(
        by(first) == 0,
        "A report made after its day was lost is nobody's: look whether the day is still yours before you publish, and let the \
         archive know, by a fence that is older than your successor's, in case it is lost in that very moment.",
        "the archive took a report of a replica that had lost its day; it took {taken:?}"
    );
    ensure!(
        by(second) == 1,
        "Whoever takes a day over makes its report.",
        "the archive took {taken:?} of a day that {} took over",
        second.name
    );
    Ok(())
}
