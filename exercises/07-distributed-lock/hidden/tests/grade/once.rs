//! Once, and by one: five replicas that are woken in the same moment, one that is late, and different days.

use std::time::Duration;

use distributed_lock_hidden::desk::{EVERYBODY, Plan, Told};
use distributed_lock_hidden::fleet::Way;
use distributed_lock_hidden::stage::{Member, SOON, Stage, day};
use harness::postgres::Gate;
use harness::{Check, Failure, Outcome, ensure};

/// Days on which the replicas take each step together.
const IN_STEP: u32 = 3;
/// Days on which they run as they come.
const FREE: u32 = 12;

const TWO: &str = "Between looking and taking another replica looks too: reaching for a day has to be one step of the server's, \
                   and its answer says who has it. What a process knows by itself, it knows alone.";
const ANSWERS: &str =
    "Somebody has the day, or nobody has: a replica that comes second is told `HeldBy`, or `AlreadyDone`.";

pub async fn race(cx: &Check, stage: &Stage, test: &str) -> Outcome {
    let mut members: [Member<'_>; 5] = stage.members(cx, test).await?;
    for n in 0..IN_STEP {
        cx.stage(format!("five replicas in step, day {n}"));
        // The first day warms connections up.
        in_step(stage, &mut members, n).await?;
    }
    cx.stage("five replicas as they come");
    for n in IN_STEP..IN_STEP + FREE {
        let mut calls = Vec::new();
        for member in &mut members {
            calls.push(member.begin(day(n)).await?);
        }
        for call in &calls {
            stage.desk.ended(*call, SOON * 2).await?;
        }
        one_ran(stage, n, &calls)?;
    }
    costs(cx, stage, &mut members).await
}

/// All five are let on with one question each, and only when all who are still busy have put the next one.
async fn in_step(stage: &Stage, members: &mut [Member<'_>; 5], n: u32) -> Outcome {
    stage.desk.plan(EVERYBODY, day(n), Plan::HoldJob);
    let gates: Vec<Vec<Gate>> = members.iter().map(|member| member.taps.hold()).collect();
    let mut calls = Vec::new();
    for member in members.iter_mut() {
        calls.push(member.begin(day(n)).await?);
    }
    let waiting = || -> usize { gates.iter().flatten().map(|gate| gate.waiting()).sum() };
    let busy = || {
        let book = stage.desk.book();
        let ended = calls.iter().filter(|call| book.ended.contains_key(call)).count();
        let begun = book.runs_of(day(n)).len();
        calls.len().saturating_sub(ended + begun)
    };
    // PostgreSQL may have one wait for another. The other servers answer at once, so that only a busy machine is waited for.
    let step = match stage.way {
        Way::Postgres => Duration::from_millis(300),
        Way::Redis | Way::Etcd => Duration::from_millis(800),
    };
    // Enough for any design; afterwards all go as they like.
    for _ in 0..40 {
        // One that waits for another one inside the server puts no question: then the others go on without it.
        let all = async || (waiting() >= busy()).then_some(());
        harness::eventually(step, "a step", all).await.ok();
        if busy() == 0 {
            break;
        }
        for (member, gates) in members.iter().zip(&gates) {
            // Whoever has the day renews it, and is held up by nobody.
            let begun = stage.desk.book().run(&member.name, day(n)).is_some();
            for gate in gates {
                if begun {
                    gate.open();
                }
                while gate.release_one() {}
            }
        }
    }
    drop(gates);
    let losers = stage
        .desk
        .until("the answer to four of five replicas", SOON * 2, |book| {
            let ended = calls.iter().filter(|call| book.ended.contains_key(call)).count();
            let runs = book.runs_of(day(n)).len();
            (ended + runs >= calls.len()).then_some(())
        });
    losers.await?;
    stage.desk.plan(EVERYBODY, day(n), Plan::Report);
    for call in &calls {
        stage.desk.ended(*call, SOON * 2).await?;
    }
    one_ran(stage, n, &calls)
}

fn one_ran(stage: &Stage, n: u32, calls: &[u64]) -> Outcome {
    let book = stage.desk.book();
    let told: Vec<_> = calls.iter().filter_map(|call| book.ended.get(call)).collect();
    let (runs, taken) = (book.runs_of(day(n)), book.taken_of(day(n)));
    let ran = told.iter().filter(|told| matches!(told, Told::Ran(_))).count();
    if runs.len() > 1 || taken.len() > 1 || ran > 1 {
        return Err(Failure::new(format!(
            "five replicas were woken for one day, and {} of them made the report; it was sent {} times",
            runs.len(),
            taken.len()
        ))
        .because(TWO)
        .evidence(format!("they were told {told:?}")));
    }
    ensure!(
        (ran, taken.len()) == (1, 1),
        "One of the replicas that reach for a day at the same time has it, and tells the scheduler `Ran`.",
        "five replicas were woken for one day; {ran} ran, {} reports were taken, and they were told {told:?}",
        taken.len()
    );
    let odd = told
        .iter()
        .find(|told| !matches!(told, Told::Ran(_) | Told::HeldBy(_) | Told::AlreadyDone));
    ensure!(
        odd.is_none(),
        ANSWERS,
        "five replicas were woken for one day, and one was told {odd:?}"
    );
    Ok(())
}

/// What an undisturbed run asks of the servers, and what one asks that comes second.
async fn costs(cx: &Check, stage: &Stage, members: &mut [Member<'_>; 5]) -> Outcome {
    let word = match stage.way {
        Way::Postgres => "postgres",
        Way::Redis => "redis",
        Way::Etcd => "etcd",
    };
    let [first, second, ..] = members;
    cx.stage("one replica alone, and one that comes second");
    let today = day(IN_STEP + FREE);
    let call = first.hold(today).await?;
    let before = second.taps.commands();
    let told = second.run_once(today).await?;
    ensure!(
        matches!(told, Told::HeldBy(_)),
        ANSWERS,
        "a replica is at it, and another one was told {told:?}"
    );
    let second_asked = second.taps.commands() - before;
    stage.desk.plan(&first.name, today, Plan::Report);
    stage.desk.ended(call, SOON).await?;
    let today = day(IN_STEP + FREE + 1);
    let before = first.taps.commands();
    let told = first.run_once(today).await?;
    ensure!(
        matches!(told, Told::Ran(_)),
        "A day that nobody has is taken.",
        "a replica alone was told {told:?}"
    );
    let asked = first.taps.commands() - before;
    cx.measure(&format!("{word}_commands_per_run"), asked as f64);
    cx.explain(
        &format!("{word}_commands_per_run"),
        "Taking a day, recording it and giving it back are a few questions; whoever asks all the time asks for nothing.",
        [format!("{asked} questions to the servers for a run that nobody disturbed")],
    );
    cx.measure(&format!("{word}_commands_of_the_second"), second_asked as f64);
    cx.explain(
        &format!("{word}_commands_of_the_second"),
        "The scheduler comes again in a minute: a replica that finds the day taken says so, and does not wait for it.",
        [format!("{second_asked} questions to the servers by a replica that came second")],
    );
    Ok(())
}

pub async fn late(cx: &Check, stage: &Stage, test: &str) -> Outcome {
    let [mut first, mut second]: [Member<'_>; 2] = stage.members(cx, test).await?;
    let told = first.run_once(day(0)).await?;
    ensure!(
        matches!(told, Told::Ran(_)),
        "A day that nobody has is taken.",
        "the first replica was told {told:?}"
    );
    const DONE: &str = "That nobody has the day does not mean that it is to be done: the lock keeps replicas apart, and what keeps \
                        the report from being made again is a record that it was made.";
    cx.stage("a replica that was started later");
    let mut third = stage.member(cx, test, "reporter-2").await?;
    for member in [&mut second, &mut third, &mut first] {
        let told = member.until_known_done(day(0)).await;
        let told = told.map_err(|failure| failure.because(DONE))?;
        let runs = stage.desk.book().runs_of(day(0)).len();
        ensure!(
            told == Told::AlreadyDone && runs == 1,
            DONE,
            "the report was made, {} came later and was told {told:?}; the job has run {runs} times",
            member.name
        );
    }
    Ok(())
}

pub async fn apart(cx: &Check, stage: &Stage, test: &str) -> Outcome {
    let [mut first, mut second]: [Member<'_>; 2] = stage.members(cx, test).await?;
    const APART: &str =
        "Each day has a lock of its own: the report of the end of the year may not keep back tomorrow's.";
    let begun = async {
        let one = first.hold(day(0)).await?;
        let other = second.hold(day(1)).await?;
        let third = first.hold(day(2)).await?;
        Ok::<_, Failure>([one, other, third])
    };
    let calls = begun.await.map_err(|failure| failure.because(APART))?;
    for n in 0..3 {
        stage.desk.plan(EVERYBODY, day(n), Plan::Report);
        stage.desk.plan(&first.name, day(n), Plan::Report);
        stage.desk.plan(&second.name, day(n), Plan::Report);
    }
    for call in calls {
        let told = stage.desk.ended(call, SOON).await?;
        ensure!(
            matches!(told, Told::Ran(_)),
            APART,
            "three days were made at the same time, and one run was told {told:?}"
        );
    }
    Ok(())
}
