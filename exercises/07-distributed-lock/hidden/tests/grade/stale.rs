//! Replicas that lost their day and do not know it yet.

use distributed_lock_hidden::desk::{Plan, Told};
use distributed_lock_hidden::stage::{Member, SOON, Stage, day};
use harness::{Check, Outcome, ensure};

use super::crash::fences_rise;
use super::lease::{only_the_second, told_of_the_loss};

pub async fn paused(cx: &Check, stage: &Stage, test: &str) -> Outcome {
    let [mut first, mut other, mut second]: [Member<'_>; 3] = stage.members(cx, test).await?;
    const PAUSED: &str = "A process can stand still between any two lines, also behind the one that looked whether the day is still \
                          its own. Only the archive can tell, and only by a number that rises with every taking of the day.";
    cx.stage("two replicas stand still: one in its job, one with its report on the way");
    let in_job = first.hold(day(0)).await?;
    let on_its_way = other.hold_report(day(1), Plan::HoldReport).await?;
    for member in [&first, &other] {
        member.pause();
        stage.end_sessions(member).await?;
    }
    cx.stage("another replica takes both days over");
    for n in 0..2 {
        let told = second.until_done(day(n), stage.takeover()).await?;
        ensure!(
            matches!(told, Told::Ran(_)),
            "A day whose holder stands still is taken over.",
            "a replica stands still in the midst of its day, and the next one was told {told:?}"
        );
    }
    cx.stage("they go on");
    stage.desk.plan(&first.name, day(0), Plan::Report);
    stage.desk.plan(&other.name, day(1), Plan::Report);
    for (member, n, call) in [(&first, 0, in_job), (&other, 1, on_its_way)] {
        member.replica.resume();
        let told = stage.desk.ended(call, SOON).await?;
        only_the_second(stage, member, &second, n).map_err(|failure| failure.because(PAUSED))?;
        ensure!(
            !matches!(told, Told::Ran(_)),
            PAUSED,
            "a replica stood still, its day was done by another one, and it was told {told:?}"
        );
    }
    fences_rise(stage, 2)
}

pub async fn late_word(cx: &Check, stage: &Stage, test: &str) -> Outcome {
    let [mut first, mut second, mut third]: [Member<'_>; 3] = stage.members(cx, test).await?;
    const YOURS: &str = "Renewing and giving back are for whoever has the day, and only the server knows who that is: each has to name \
                         the holder, in the same step, and to look at what came of it.";
    let call = first.hold(day(0)).await?;
    cx.stage("a replica's words are late, and its lease ends");
    let gates = first.taps.hold();
    stage.forget(&first).await?;
    stage.desk.plan(&second.name, day(0), Plan::HoldJob);
    second.until_begun(day(0), stage.takeover()).await?;
    cx.stage("its late words arrive");
    drop(gates);
    told_of_the_loss(stage, &first, call)
        .await
        .map_err(|failure| failure.because(YOURS))?;
    stage.desk.plan(&first.name, day(0), Plan::Report);
    let told = stage.desk.ended(call, SOON).await?;
    ensure!(
        !matches!(told, Told::Ran(_)),
        YOURS,
        "a replica lost its day to another one, and was told {told:?}"
    );
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < stage.ttl {
        let told = third.run_once(day(0)).await?;
        ensure!(
            matches!(told, Told::HeldBy(_)),
            YOURS,
            "a replica lost its day to another one and ended; the other one is still at it, and a third was told {told:?}"
        );
        tokio::time::sleep(stage.renew_every / 2).await;
    }
    let taken = stage.desk.book().taken_of(day(0)).len();
    ensure!(
        taken == 0,
        YOURS,
        "a replica lost its day to another one, and its report was taken all the same"
    );
    stage.desk.plan(&second.name, day(0), Plan::Report);
    let done = stage.desk.until("the end of the successor's run", SOON, |book| {
        let told = book.ended.values().find(|told| matches!(told, Told::Ran(_)));
        told.cloned()
    });
    done.await.map_err(|failure| failure.because(YOURS))?;
    only_the_second(stage, &first, &second, 0)?;
    fences_rise(stage, 1)
}
