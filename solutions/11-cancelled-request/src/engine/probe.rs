//! Sees what the calculation does, for the metrics page and for whoever else wants to know.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

type Observer = dyn Fn(Seen<'_>) + Send + Sync;

/// Counts the steps of all reports. An observer is told of each before it is made, on the thread that makes it.
#[derive(Default)]
pub struct Probe {
    steps: AtomicU64,
    observer: Option<Box<Observer>>,
}

/// What an observer is told, of the report with that id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// A step is about to be made.
    Step { report: &'a str },
    /// The calculation's state has been dropped: there will be no step of it any more.
    End { report: &'a str },
}

impl Probe {
    pub fn new() -> Probe {
        Probe::default()
    }

    pub fn observed_by(observer: impl Fn(Seen<'_>) + Send + Sync + 'static) -> Probe {
        Probe {
            steps: AtomicU64::new(0),
            observer: Some(Box::new(observer)),
        }
    }

    /// Steps made since the start, of all reports.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    pub(super) fn see(&self, seen: Seen<'_>) {
        if let Seen::Step { .. } = seen {
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(observer) = &self.observer {
            observer(seen);
        }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("steps", &self.steps()).finish()
    }
}
