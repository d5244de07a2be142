//! Batches.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cpu_spike_hidden::corpus;
use cpu_spike_hidden::model::{Answer, Model};
use cpu_spike_hidden::subject::{Action, Reject};
use cpu_spike_hidden::traffic::{self, rule};
use harness::ratio::thread_cpu;
use harness::{Check, Failure, OrObserved, Outcome, ensure};

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
    let mut seen = Vec::new();
    // Where the work is done by other threads, it depends on the kernel how far this one gets meanwhile. Where it is done
    // on this one, each try gives the same.
    for _ in 0..3 {
        let (turns, spent) = watched(subject.process_batch(batch.clone()), EVENTS).await?;
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
        .because(
            "An async function that never waits never gives way: until the batch is done its thread serves nobody else, \
             the health check least of all.",
        )
        .evidence("a turn is a poll of another task on the same current-thread runtime; time is the thread's CPU time"))
}

/// Runs a batch beside a task that takes every turn that it is given: its turns, and the CPU time that the thread spent.
async fn watched(
    batch: impl Future<Output = Vec<Result<Bytes, Reject>>>,
    events: usize,
) -> Result<(Turns, Duration), Failure> {
    let turns = Arc::new(Mutex::new(Turns::default()));
    let heart = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            loop {
                turns.lock().unwrap_or_else(PoisonError::into_inner).take();
                tokio::task::yield_now().await;
            }
        }
    });
    // It has to be there before the batch begins.
    tokio::task::yield_now().await;
    let begun = thread_cpu();
    *turns.lock().unwrap_or_else(PoisonError::into_inner) = Turns {
        last: begun,
        ..Turns::default()
    };
    let results = batch.await;
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
    Ok((turns, spent))
}
