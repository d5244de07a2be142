//! Batches.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use cpu_spike_hidden::corpus;
use cpu_spike_hidden::model::{Answer, Model};
use cpu_spike_hidden::subject::{Action, Reject};
use cpu_spike_hidden::traffic::{self, rule};
use harness::ratio::thread_cpu;
use harness::{Check, Failure, OrObserved, Outcome, ensure, tasks};

use crate::observe::{pipeline, same};

pub async fn in_order(cx: &Check) -> Outcome {
    let rules = corpus::rules();
    let subject = Arc::new(pipeline(&rules)?);
    let model = Model::new(&rules);
    let mut rng = cx.rng("events");
    let mut batches = vec![Vec::new(), traffic::events(&mut rng, 1)];
    for events in [300, 130] {
        let made = corpus::made(&mut rng, events);
        batches.push(made.into_iter().map(Bytes::from).collect());
    }
    // At one time, from tasks of their own.
    let answers: Vec<_> = batches
        .iter()
        .map(|batch| {
            let (subject, batch) = (Arc::clone(&subject), batch.clone());
            tokio::spawn(async move { subject.process_batch(batch).await })
        })
        .collect();
    for (batch, results) in batches.iter().zip(answers) {
        let results = results.await.or_observed("process_batch() panicked")?;
        ensure!(
            results.len() == batch.len(),
            "A batch has one result per event.",
            "a batch of {} events had {} results",
            batch.len(),
            results.len()
        );
        for (raw, result) in batch.iter().zip(results) {
            in_place(&model.answer(raw), result, raw)?;
        }
    }
    Ok(())
}

/// A result is that of the event in the same place. Of a verdict it says only what stands in the event.
fn in_place(expected: &Answer, result: Result<Bytes, Reject>, raw: &[u8]) -> Outcome {
    let because = "A batch gives the same answers as its events one by one, and in their order.";
    let verdict = match expected {
        Answer::Passed(verdict, _) => Ok(*verdict),
        Answer::Rejected(reject) => Err(*reject),
    };
    match result {
        Err(reject) => same(expected, Err(reject), b"", raw, because),
        Ok(appended) if verdict.is_ok() => same(expected, verdict, &appended, raw, because),
        Ok(_) => Err(Failure::new(format!(
            "an event was passed on that is to be rejected as {verdict:?}"
        ))
        .because(because)
        .evidence(String::from_utf8_lossy(raw).into_owned())),
    }
}

/// Turns of another task, as it sees them.
#[derive(Clone, Copy, Debug, Default)]
struct Turns {
    count: u64,
    last: Duration,
    /// CPU time of this thread between two of them, at most.
    longest: Duration,
}

impl Turns {
    fn take(&mut self) {
        let now = thread_cpu();
        self.longest = self.longest.max(now.saturating_sub(self.last));
        self.last = now;
        self.count += 1;
    }
}

pub async fn lets_others_run(cx: &Check) -> Outcome {
    const EVENTS: usize = 20_000;
    let rules = vec![rule("test tenant", "tenant", "^test-", Action::Flag)];
    let subject = pipeline(&rules)?;
    let mut rng = cx.rng("events");
    let some = traffic::events(&mut rng, 500);
    let batch: Vec<Bytes> = some.iter().cycle().take(EVENTS).cloned().collect();
    subject.process_batch(some).await;
    let (mut seen, mut most_tasks) = (Vec::new(), 0);
    // Where the work is done by other threads, it depends on the kernel how far this one gets meanwhile. Where it is done
    // on this one, each try gives the same.
    for _ in 0..3 {
        let Watched { turns, spent, tasks } = watched(subject.process_batch(batch.clone()), EVENTS).await?;
        most_tasks = most_tasks.max(tasks);
        let share = turns.longest.as_secs_f64() / spent.as_secs_f64().max(1e-9);
        if turns.count >= 3 && share <= 0.5 {
            return Ok(());
        }
        seen.push(format!(
            "{} turns for others, the longest stretch without one {:.0} % of the batch",
            turns.count,
            share * 100.0
        ));
        if turns.count < 3 && spent > Duration::from_millis(500) {
            break;
        }
    }
    Err(Failure::new(format!("a batch of {EVENTS} events: {}", seen.join("; ")))
        .because(if most_tasks >= 3 { ALL_AT_ONCE } else { NEVER_WAITS })
        .evidence("a turn is a poll of another task on the same current-thread runtime; time is the thread's CPU time"))
}

const NEVER_WAITS: &str = "An async function that never waits never gives way: until the batch is done its thread serves \
                           nobody else, the health check least of all.";
const ALL_AT_ONCE: &str = "Tasks that are spawned all at once stand in the queue before everybody who comes later: on its \
                           own thread the batch has given way to itself only.";

/// What others had of a batch.
struct Watched {
    turns: Turns,
    /// CPU time of the batch's thread.
    spent: Duration,
    /// Tasks that the batch had spawned when it first waited.
    tasks: usize,
}

/// Runs a batch beside a task that takes every turn that it is given.
async fn watched(
    batch: impl Future<Output = Vec<Result<Bytes, Reject>>>,
    events: usize,
) -> Result<Watched, Failure> {
    let turns = Arc::new(Mutex::new(Turns::default()));
    let heart = tokio::spawn({
        let turns = Arc::clone(&turns);
        // Always ready, and in the queue behind those who were before: `yield_now` would wait until the queue is empty.
        std::future::poll_fn(move |cx| {
            turns.lock().unwrap_or_else(PoisonError::into_inner).take();
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })
    });
    // It has to be there before the batch begins.
    tokio::task::yield_now().await;
    let begun = thread_cpu();
    *turns.lock().unwrap_or_else(PoisonError::into_inner) = Turns {
        last: begun,
        ..Turns::default()
    };
    let (alive, mut tasks) = (tasks::alive(), None);
    let mut batch = pin!(batch);
    let results = std::future::poll_fn(|cx| {
        let polled = batch.as_mut().poll(cx);
        tasks.get_or_insert_with(|| tasks::alive().saturating_sub(alive));
        polled
    })
    .await;
    let spent = thread_cpu().saturating_sub(begun);
    heart.abort();
    let mut turns = *turns.lock().unwrap_or_else(PoisonError::into_inner);
    turns.longest = turns.longest.max(thread_cpu().saturating_sub(turns.last));
    ensure!(
        results.len() == events,
        "A batch has one result per event.",
        "a batch of {events} events had {} results",
        results.len()
    );
    Ok(Watched {
        turns,
        spent,
        tasks: tasks.unwrap_or(0),
    })
}
