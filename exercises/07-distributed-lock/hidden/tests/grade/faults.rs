//! Faults at every point of a run: each question to the servers, and each answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use distributed_lock_hidden::desk::Told;
use distributed_lock_hidden::fleet::{AtDesk, reporter, told};
use distributed_lock_hidden::stage::{Stage, Taps, day};
use distributed_lock_hidden::subject::{NaiveDate, Reporter};
use harness::postgres::Gate;
use harness::sweep::{After, Case, Scene, Sweep};
use harness::{Check, Failure, Outcome, ensure, within};

const SIDE_BY_SIDE: usize = 10;
/// What a client may wait for an answer that does not come, several times over.
const ACT: Duration = Duration::from_secs(20);

/// After which the scheduler comes again.
const AGAIN: Duration = Duration::from_millis(50);

const STUCK: &str = "Write down what the servers know after each single question: a holder without a time, or a time without a \
                     holder, stays for ever when nobody comes to put the next question.";

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disturbance {
    Cut,
    Crash,
    /// The caller goes away; its replica lives.
    Abort,
}

pub async fn cut(cx: &Check, stage: &Arc<Stage>, _test: &str) -> Outcome {
    sweep(cx, stage, Disturbance::Cut).await
}

pub async fn crash(cx: &Check, stage: &Arc<Stage>, _test: &str) -> Outcome {
    sweep(cx, stage, Disturbance::Crash).await
}

/// A call is given up at each of its points, and the same replica asked again.
pub async fn abort(cx: &Check, stage: &Arc<Stage>) -> Outcome {
    sweep(cx, stage, Disturbance::Abort).await
}

async fn sweep(cx: &Check, stage: &Arc<Stage>, what: Disturbance) -> Outcome {
    let world = World::new(stage.clone()).await?;
    let how = Sweep {
        side_by_side: SIDE_BY_SIDE,
        act_deadline: ACT,
    };
    let build = |case: Case| Disturbed::build(world.clone(), case, what);
    let swept = match what {
        Disturbance::Cut => how.cut(build).await?,
        Disturbance::Crash => how.crash(build).await?,
        Disturbance::Abort => how.abort(build).await?,
    };
    cx.note(format!("{} points were disturbed", swept.points.len()));
    Ok(())
}

struct World {
    stage: Arc<Stage>,
    days: AtomicU32,
    survivor: (Arc<Reporter>, Arc<AtDesk>),
    _taps: Taps,
}

impl World {
    async fn new(stage: Arc<Stage>) -> Result<Arc<World>, Failure> {
        let taps = stage.taps().await?;
        let survivor = reporter(&stage.boot("survivor", &taps));
        Ok(Arc::new(World {
            stage,
            // Others are what came before in a check.
            days: AtomicU32::new(100),
            survivor,
            _taps: taps,
        }))
    }
}

/// One run that is disturbed at one point.
struct Disturbed {
    world: Arc<World>,
    what: Disturbance,
    taps: Taps,
    name: String,
    today: NaiveDate,
    yesterday: NaiveDate,
    _points: Vec<Gate>,
}

impl Disturbed {
    async fn build(world: Arc<World>, case: Case, what: Disturbance) -> Result<Disturbed, Failure> {
        let taps = world.stage.taps().await?;
        let n = world.days.fetch_add(2, Ordering::Relaxed);
        Ok(Disturbed {
            _points: taps.report_to(&case.points),
            taps,
            what,
            name: format!("reporter-{n}"),
            today: day(n),
            yesterday: day(n + 1),
            world,
        })
    }
}

impl Scene for Disturbed {
    type Subject = (Arc<Reporter>, Arc<AtDesk>);
    type Answer = Told;

    /// Another day was done before, so that connections and scripts are there.
    async fn boot(&self) -> Result<Self::Subject, Failure> {
        let (reporter, at_desk) = reporter(&self.world.stage.boot(&self.name, &self.taps));
        let warm = told(reporter.run_once(self.yesterday, at_desk.clone()).await);
        ensure!(
            matches!(warm, Told::Ran(_)),
            "A day that nobody has is taken.",
            "a replica alone was told {warm:?}"
        );
        Ok((reporter, at_desk))
    }

    async fn act(&self, (reporter, at_desk): &Self::Subject) -> Told {
        told(reporter.run_once(self.today, at_desk.clone()).await)
    }

    async fn verify(&self, after: After<Self::Subject, Told>) -> Outcome {
        if self.what == Disturbance::Abort {
            return self.free_again(after).await;
        }
        let world = &self.world;
        let (survivor, at_desk) = &world.survivor;
        let mut last = None;
        let done = within(world.stage.takeover(), "the report of the day", async {
            loop {
                let told = told(survivor.run_once(self.today, at_desk.clone()).await);
                if matches!(told, Told::Ran(_) | Told::AlreadyDone) {
                    return told;
                }
                last = Some(told);
                tokio::time::sleep(AGAIN).await;
            }
        });
        let done = done.await.map_err(|failure| {
            failure
                .because(STUCK)
                .evidence(format!("another replica was last told {last:?}"))
        })?;
        let book = world.stage.desk.book();
        let taken = book.taken_of(self.today);
        let by = |name: &str| taken.iter().filter(|who| who.replica == name).count();
        let (first, second) = (by(&self.name), by("survivor"));
        let answer = &after.answer;
        let seen = format!(
            "the disturbed replica was told {answer:?} and its report was taken {first} times; another one came later, was told \
             {done:?}, and its report was taken {second} times"
        );
        ensure!(
            !matches!(answer, Some(Told::HeldBy(_))),
            "An answer that did not come is no answer: whoever does not know whether it has the day finds out, or says so with an \
             error. `HeldBy` is about another replica.",
            "nobody else had the day: {seen}"
        );
        ensure!(
            !(world.stage.has_leases() && matches!(answer, Some(Told::LostLease))),
            "An answer that did not come is no loss: nobody else had the day, and its lease had not ended. Whoever does not know \
             what came of its last word asks, or says so with an error.",
            "{seen}"
        );
        ensure!(
            first + second >= 1,
            "A day is done when its report was taken, and not before.",
            "{seen}"
        );
        let ran = matches!(answer, Some(Told::Ran(_)));
        ensure!(
            first <= 1 && second <= 1 && !(ran && second > 0),
            "A replica that says `Ran` has published the report, and it is on record that nobody makes it again.",
            "{seen}"
        );
        Ok(())
    }
}

impl Disturbed {
    /// The replica whose caller has gone away is asked by another one.
    async fn free_again(&self, after: After<<Self as Scene>::Subject, Told>) -> Outcome {
        let Some((reporter, at_desk)) = after.subject.as_deref() else {
            return Ok(());
        };
        let mut last = None;
        let done = within(self.world.stage.takeover(), "the report of the day", async {
            loop {
                let told = told(reporter.run_once(self.today, at_desk.clone()).await);
                if matches!(told, Told::Ran(_) | Told::AlreadyDone) {
                    return;
                }
                last = Some(told);
                tokio::time::sleep(AGAIN).await;
            }
        });
        done.await.map_err(|failure| {
            failure
                .because(
                    "A call that is given up leaves nothing that keeps its day, in the servers or in its replica: what is put right \
                     behind an `.await` may never be reached.",
                )
                .evidence(format!("the same replica was last told {last:?}"))
        })?;
        let taken = self.world.stage.desk.book().taken_of(self.today).len();
        ensure!(
            taken >= 1,
            "A day is done when its report was taken, and not before.",
            "a call was given up, the next one was told that the day is done, and its report was never taken"
        );
        Ok(())
    }
}
