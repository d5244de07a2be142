//! Threads that wait for each other, until it is known that nobody comes any more.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use harness::{Failure, Outcome};

use crate::standstill;

pub const WAITS: &str = "Backpressure in the wrong place: rendering now waits until somebody else's body was taken. A pool \
                         is a cache: when it is empty, allocate.";

const BORROWED: &str = "Memory that belongs to the thread was still borrowed while the sink, or another task of the \
                        thread, ran: BorrowMutError. Take it out for as long as you use it.";

const POISONED: &str = "A lock was held while a caller's code ran, and it panicked: every later document finds the lock \
                        poisoned.";

/// A barrier that gives up when nobody moves any more: a subject that blocks is found out, however long a slow machine
/// takes. Waiting allocates nothing.
pub struct Meeting {
    size: usize,
    /// Those who have come since the start.
    come: AtomicUsize,
}

impl Meeting {
    pub fn of(size: usize) -> Arc<Meeting> {
        Arc::new(Meeting {
            size,
            come: AtomicUsize::new(0),
        })
    }

    /// Waits until everybody has come, again each time.
    pub fn wait(&self) -> Outcome {
        let before = self.come.fetch_add(1, SeqCst);
        let full = (before / self.size + 1) * self.size;
        standstill::ring();
        let all_here = || (self.come.load(SeqCst) >= full).then_some(());
        standstill::until(all_here).map_err(|why| {
            let here = self.size - full.saturating_sub(self.come.load(SeqCst));
            let size = self.size;
            Failure::new(format!("only {here} of {size} {NEVER_CAME}; {why}")).because(WAITS)
        })
    }
}

const NEVER_CAME: &str = "were at work at the same time, and the others never came";

/// Work on a thread of its own.
pub struct Aside<T> {
    what: String,
    result: Arc<Mutex<Option<Result<T, Failure>>>>,
}

/// Starts `work` on a new thread. `what` fits before "did not end" and "panicked".
pub fn aside<T: Send + 'static>(
    what: impl Into<String>,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Aside<T> {
    standstill::watch();
    let what = what.into();
    let result = Arc::new(Mutex::new(None));
    let (name, ours) = (what.clone(), Arc::clone(&result));
    std::thread::spawn(move || {
        let ended = catch_unwind(AssertUnwindSafe(work));
        let ended = ended.unwrap_or_else(|payload| Err(panicked(&name, &*payload)));
        if let Ok(mut result) = ours.lock() {
            *result = Some(ended);
        }
        standstill::ring();
    });
    Aside { what, result }
}

impl<T> Aside<T> {
    /// What the work came to; `because` is what it means when it does not end.
    pub fn join(self, because: &str) -> Result<T, Failure> {
        let ended = || self.result.lock().ok().and_then(|mut result| result.take());
        standstill::until(ended).unwrap_or_else(|why| {
            Err(Failure::new(format!("{} did not end; {why}", self.what)).because(because))
        })
    }
}

/// Joins a crew; a failure that says more than that others never came is preferred.
pub fn join_all<T>(crew: Vec<Aside<T>>, because: &str) -> Result<Vec<T>, Failure> {
    let ended: Vec<Result<T, Failure>> = crew.into_iter().map(|one| one.join(because)).collect();
    let dull = |failure: &Failure| failure.to_string().contains(NEVER_CAME);
    let telling = ended
        .iter()
        .filter_map(|one| one.as_ref().err())
        .min_by_key(|failure| dull(failure));
    match telling.cloned() {
        Some(failure) => Err(failure),
        None => ended.into_iter().collect(),
    }
}

/// A panic of the subject's own, as a failure.
pub fn panicked(what: &str, payload: &(dyn Any + Send)) -> Failure {
    let message = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a value that is no text");
    let failure = Failure::new(format!("{what} panicked: {message}"));
    if message.contains("borrowed") {
        failure.because(BORROWED)
    } else if message.contains("oison") {
        failure.because(POISONED)
    } else {
        failure
            .because("The renderer panics by itself in nobody's name; a caller's code may, and is told so.")
    }
}
