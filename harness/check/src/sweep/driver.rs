//! Runs the cases of a sweep.

use super::Fate;
use super::points::{Points, Reached};
use crate::{Failure, Outcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// One case of a sweep: the world in which the operation is disturbed at one point.
///
/// A scene is built anew for each case, with its own taps and stubs (they report to [`Case::points`]), its own keys
/// and, where it matters, its own database; so cases may run side by side.
pub trait Scene: Send + Sync + 'static {
    /// An instance of what is graded.
    type Subject: Send + Sync + 'static;
    /// What the operation returns to its caller.
    type Answer: Send + 'static;

    /// Starts an instance that is ready for the operation: its pool is warm and nothing is under way. Traffic until
    /// here is no point of the sweep. For a crash it is called on the runtime that is going to be shut down.
    fn boot(&self) -> impl Future<Output = Result<Self::Subject, Failure>> + Send;

    /// The operation that is disturbed. An error is an answer.
    fn act(&self, subject: &Self::Subject) -> impl Future<Output = Self::Answer> + Send;

    /// Verifies the invariants afterwards: first, as a rule, by asking again until the operation has succeeded. Also
    /// called after the undisturbed run. Here `boot` may be called for another instance.
    fn verify(&self, after: After<Self::Subject, Self::Answer>) -> impl Future<Output = Outcome> + Send;
}

/// Which case a scene is built for.
#[derive(Debug, Clone)]
pub struct Case {
    /// 0 is the undisturbed run; k is disturbed at its k-th point.
    pub number: usize,
    /// What the scene's taps and stubs report to.
    pub points: Points,
}

/// What is left after the operation.
#[derive(Debug)]
pub struct After<S, A> {
    /// The instance; `None` when it crashed.
    pub subject: Option<Arc<S>>,
    /// What the caller was told; `None` when there is no caller any more.
    pub answer: Option<A>,
    /// The case's number, as in [`Case`].
    pub number: usize,
    /// The point that was disturbed; `None` when the run was undisturbed, or ended before that point.
    pub disturbed: Option<String>,
}

/// What a sweep has been through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// The points of the undisturbed run, in order.
    pub points: Vec<String>,
    /// The cases whose run ended before the point that was to be disturbed. A pool's own traffic may differ from run
    /// to run by a message or two; many of them mean that the operation is not the same each time.
    pub unreached: Vec<usize>,
}

/// How a sweep is run.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// How many cases run at one time.
    pub side_by_side: usize,
    /// How long an operation may take, disturbed or not, before it counts as hanging.
    pub act_deadline: Duration,
}

impl Default for Sweep {
    fn default() -> Sweep {
        Sweep {
            side_by_side: 8,
            act_deadline: Duration::from_secs(20),
        }
    }
}

/// [`Sweep::cut`] as it is run by default.
pub async fn cut<S: Scene, B>(build: impl Fn(Case) -> B) -> Result<Swept, Failure>
where
    B: Future<Output = Result<S, Failure>> + Send + 'static,
{
    Sweep::default().cut(build).await
}

/// [`Sweep::abort`] as it is run by default.
pub async fn abort<S: Scene, B>(build: impl Fn(Case) -> B) -> Result<Swept, Failure>
where
    B: Future<Output = Result<S, Failure>> + Send + 'static,
{
    Sweep::default().abort(build).await
}

/// [`Sweep::crash`] as it is run by default.
pub async fn crash<S: Scene, B>(build: impl Fn(Case) -> B) -> Result<Swept, Failure>
where
    B: Future<Output = Result<S, Failure>> + Send + 'static,
{
    Sweep::default().crash(build).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    Cut,
    Abort,
    Crash,
}

impl Sweep {
    /// At each point, the message is lost and its connection breaks. `build` makes the scene of a case.
    ///
    /// # Errors
    /// The failure of the first case (by number) whose invariants did not hold; the others are named in its evidence.
    pub async fn cut<S: Scene, B>(self, build: impl Fn(Case) -> B) -> Result<Swept, Failure>
    where
        B: Future<Output = Result<S, Failure>> + Send + 'static,
    {
        self.run(Disturbance::Cut, build).await
    }

    /// At each point, the caller's task is dropped while the message is held; then the message passes.
    ///
    /// # Errors
    /// As [`Sweep::cut`].
    pub async fn abort<S: Scene, B>(self, build: impl Fn(Case) -> B) -> Result<Swept, Failure>
    where
        B: Future<Output = Result<S, Failure>> + Send + 'static,
    {
        self.run(Disturbance::Abort, build).await
    }

    /// At each point, the runtime of the instance is shut down while the message is held; then the message is lost.
    /// The instance is booted and acts on a runtime of its own; the scene is built and verified on the caller's.
    ///
    /// # Errors
    /// As [`Sweep::cut`].
    pub async fn crash<S: Scene, B>(self, build: impl Fn(Case) -> B) -> Result<Swept, Failure>
    where
        B: Future<Output = Result<S, Failure>> + Send + 'static,
    {
        self.run(Disturbance::Crash, build).await
    }

    async fn run<S: Scene, B>(self, how: Disturbance, build: impl Fn(Case) -> B) -> Result<Swept, Failure>
    where
        B: Future<Output = Result<S, Failure>> + Send + 'static,
    {
        let start = |number| {
            let points = Points::new();
            let building = build(Case {
                number,
                points: points.clone(),
            });
            run_case(self.act_deadline, how, number, points, building)
        };
        let undisturbed = start(0).await;
        undisturbed
            .outcome
            .map_err(|failure| failure.evidence("the run was undisturbed"))?;
        let points = undisturbed.reached;

        let (mut running, mut cases, mut next) = (JoinSet::new(), Vec::new(), 1);
        loop {
            while next <= points.len() && running.len() < self.side_by_side.max(1) {
                running.spawn(start(next));
                next += 1;
            }
            match running.join_next().await {
                None => break,
                Some(Ok(case)) => cases.push(case),
                Some(Err(error)) => {
                    return Err(Failure::new(format!("a case of the sweep panicked: {error}")));
                }
            }
        }
        summary(how, points, cases)
    }
}

/// What became of one case.
#[derive(Debug)]
struct Ended {
    number: usize,
    reached: Vec<String>,
    outcome: Outcome,
}

impl Ended {
    fn disturbed(&self) -> Option<&String> {
        self.reached.get(self.number.checked_sub(1)?)
    }
}

fn summary(how: Disturbance, points: Vec<String>, mut cases: Vec<Ended>) -> Result<Swept, Failure> {
    cases.sort_by_key(|case| case.number);
    let unreached = cases
        .iter()
        .filter(|case| case.disturbed().is_none())
        .map(|case| case.number)
        .collect();
    let failed: Vec<usize> = cases
        .iter()
        .filter(|case| case.outcome.is_err())
        .map(|case| case.number)
        .collect();
    let done = match how {
        Disturbance::Cut => "lost, its connection cut",
        Disturbance::Abort => "held while the caller was dropped",
        Disturbance::Crash => "lost, its instance shut down",
    };
    for case in cases {
        let at = case
            .disturbed()
            .cloned()
            .unwrap_or_else(|| "a point that was not reached".to_owned());
        let Err(failure) = case.outcome else { continue };
        let mut failure =
            failure.evidence(format!("point {} of {}, {done}: {at}", case.number, points.len()));
        if failed.len() > 1 {
            failure = failure.evidence(format!(
                "{} of {} points fail: {failed:?}",
                failed.len(),
                points.len()
            ));
        }
        return Err(failure);
    }
    Ok(Swept { points, unreached })
}

async fn run_case<S: Scene>(
    deadline: Duration,
    how: Disturbance,
    number: usize,
    points: Points,
    building: impl Future<Output = Result<S, Failure>>,
) -> Ended {
    let outcome = async {
        let scene = Arc::new(building.await?);
        let mut after = match how {
            Disturbance::Crash => crash_one(deadline, number, &points, &scene).await?,
            _ => disturb_one(deadline, how, number, &points, &scene).await?,
        };
        points.disarm();
        after.disturbed = number
            .checked_sub(1)
            .and_then(|at| points.reached().get(at).cloned());
        scene.verify(after).await
    }
    .await;
    Ended {
        number,
        reached: points.reached(),
        outcome,
    }
}

/// Cuts, or aborts, or neither.
async fn disturb_one<S: Scene>(
    deadline: Duration,
    how: Disturbance,
    number: usize,
    points: &Points,
    scene: &Arc<S>,
) -> Result<After<S::Subject, S::Answer>, Failure> {
    let subject = Arc::new(scene.boot().await?);
    let reached = arm(points, how, number);
    let (acting_scene, acting_subject) = (scene.clone(), subject.clone());
    let mut acting = tokio::spawn(async move { acting_scene.act(&acting_subject).await });
    let answer = tokio::select! {
        answer = &mut acting => Some(answer.map_err(|error| panicked(&error))?),
        Ok(Reached { fate }) = reached => {
            acting.abort();
            // Everything that the caller owned has been dropped once this returns.
            let answer = (&mut acting).await.ok();
            fate.send(Fate::Go).ok();
            answer
        }
        () = tokio::time::sleep(deadline) => {
            acting.abort();
            return Err(Failure::new(format!("the operation did not end within {deadline:?}")));
        }
    };
    Ok(After {
        subject: Some(subject),
        answer,
        number,
        disturbed: None,
    })
}

async fn crash_one<S: Scene>(
    deadline: Duration,
    number: usize,
    points: &Points,
    scene: &Arc<S>,
) -> Result<After<S::Subject, S::Answer>, Failure> {
    let runtime = Machine::start()?;
    let booting_scene = scene.clone();
    let subject = runtime
        .spawn(async move { booting_scene.boot().await })
        .await
        .map_err(|error| panicked(&error))?;
    let subject = Arc::new(subject?);
    let reached = arm(points, Disturbance::Crash, number);
    let acting_scene = scene.clone();
    let acting = runtime.spawn(async move { acting_scene.act(&subject).await });
    let answer = tokio::select! {
        answer = acting => Some(answer.map_err(|error| panicked(&error))?),
        Ok(Reached { fate }) = reached => {
            runtime.stop().await;
            fate.send(Fate::Lose).ok();
            return Ok(After { subject: None, answer: None, number, disturbed: None });
        }
        () = tokio::time::sleep(deadline) => {
            runtime.stop().await;
            return Err(Failure::new(format!("the operation did not end within {deadline:?}")));
        }
    };
    // Undisturbed: the instance goes down all the same, after its answer.
    runtime.stop().await;
    Ok(After {
        subject: None,
        answer,
        number,
        disturbed: None,
    })
}

/// Resolves when the point to be disturbed is reached by a message that is then held; never for a cut, which the
/// points do on their own.
fn arm(points: &Points, how: Disturbance, number: usize) -> oneshot::Receiver<Reached> {
    match (number, how) {
        (0, _) => points.arm(),
        (_, Disturbance::Cut) => points.arm_to_lose(number),
        (_, Disturbance::Abort | Disturbance::Crash) => return points.arm_to_hold(number),
    }
    oneshot::channel().1
}

fn panicked(error: &tokio::task::JoinError) -> Failure {
    Failure::new(format!("the operation panicked: {error}"))
}

/// The runtime of one instance, which can be shut down from within another.
struct Machine {
    handle: Handle,
    /// Taken when it is stopped.
    runtime: Option<Runtime>,
}

impl Machine {
    fn start() -> Result<Machine, Failure> {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("instance")
            .enable_all()
            .build()
            .map(|runtime| Machine {
                handle: runtime.handle().clone(),
                runtime: Some(runtime),
            })
            .map_err(|error| Failure::environment(format!("failed to build a runtime: {error}")))
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.handle.spawn(future)
    }

    /// Drops every task of the instance, and waits for that. What blocks a thread is left behind after a while.
    async fn stop(mut self) {
        const WIND_DOWN: Duration = Duration::from_secs(5);
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        let (sender, stopped) = oneshot::channel();
        std::thread::spawn(move || {
            runtime.shutdown_timeout(WIND_DOWN);
            sender.send(()).ok();
        });
        stopped.await.ok();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A runtime must not be dropped inside another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
