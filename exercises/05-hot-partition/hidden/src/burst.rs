//! Many appends at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use harness::dynamodb::DynamoTap;
use tokio::task::JoinSet;

use crate::subject::{Event, EventLog};

/// How many producers send at a time.
const PRODUCERS: usize = 64;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(20);

/// What became of a burst.
#[derive(Debug, Default)]
pub struct Burst {
    pub sent: usize,
    pub acknowledged: Vec<Event>,
    /// Errors, in words.
    pub refused: Vec<String>,
    /// It was given up: the store was asked more often than can be explained.
    pub stormed: bool,
    /// Writes that reached the store: items, whether one by one or in batches.
    pub writes: usize,
    /// Writes that the store refused.
    pub throttled: u64,
}

impl Burst {
    pub fn writes_per_append(&self) -> f64 {
        self.writes as f64 / self.sent.max(1) as f64
    }

    pub fn unanswered(&self) -> usize {
        self.sent - self.acknowledged.len() - self.refused.len()
    }
}

/// Sends `events` through one instance, by many producers at once, until all are answered, until there are more than
/// `writes_max` writes for each, or until no more answers have come for as long as `patience` although the store has refused
/// some. `tick` says when it wants to be called again, if it does.
pub async fn send(
    log: &Arc<EventLog>,
    tap: &DynamoTap,
    customer: &'static str,
    events: Vec<Event>,
    writes_max: usize,
    patience: Duration,
    mut tick: impl FnMut() -> Option<Duration>,
) -> Burst {
    let (sent, before) = (events.len(), tap.counts());
    let seen = tap.requests_after(0).len();
    let waiting = Arc::new(Mutex::new(VecDeque::from(events)));
    let done = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut producers = JoinSet::new();
    for _ in 0..PRODUCERS {
        let (log, waiting, done, answered) = (log.clone(), waiting.clone(), done.clone(), answered.clone());
        producers.spawn(async move {
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(event) = next else { return };
                let result = log.append(customer, event.clone()).await;
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                match result {
                    Ok(()) => done.0.push(event),
                    Err(error) => done.1.push(error.to_string()),
                }
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let limit = (writes_max * sent) as u64;
    let (mut window, mut done_before) = (tick(), 0);
    let (mut ticked, mut moved) = (Instant::now(), Instant::now());
    let stormed = loop {
        tokio::select! {
            joined = producers.join_next() => if joined.is_none() { break false },
            () = tokio::time::sleep(LOOK) => {}
        }
        let counts = tap.counts().since(&before);
        if counts.writes > limit {
            break true;
        }
        let answers = answered.load(Ordering::SeqCst);
        // A store that has refused nothing is slow, and nobody's fault.
        if answers != done_before || counts.throttled == 0 {
            (done_before, moved) = (answers, Instant::now());
        }
        if moved.elapsed() > patience {
            break false;
        }
        if window.is_some_and(|window| ticked.elapsed() > window) {
            (window, ticked) = (tick(), Instant::now());
        }
    };
    producers.shutdown().await;
    let done = std::mem::take(&mut *done.lock().unwrap_or_else(PoisonError::into_inner));
    let writes = tap.requests_after(seen);
    Burst {
        sent,
        acknowledged: done.0,
        refused: done.1,
        stormed,
        writes: writes
            .iter()
            .map(|request| request.accesses.iter().filter(|access| access.writes).count())
            .sum(),
        throttled: tap.counts().since(&before).throttled,
    }
}
