//! Sees every step of every calculation, and holds one until it is let go.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use harness::{Failure, within};
use tokio::sync::Notify;

use crate::subject::{Probe, Seen};

/// What is known of one report's calculation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calculation {
    /// Steps that were begun, a held one included.
    pub steps: u64,
    /// Its state has been dropped.
    pub ended: bool,
    hold_at: Option<u64>,
    pub held: bool,
}

#[derive(Default)]
struct Inner {
    reports: Mutex<HashMap<String, Calculation>>,
    let_go: Condvar,
    changed: Notify,
}

/// Dropping it lets go of everything.
#[derive(Default)]
pub struct Steps(Arc<Inner>);

impl Steps {
    pub fn new() -> Steps {
        Steps::default()
    }

    /// The probe that tells this.
    pub fn probe(&self) -> Arc<Probe> {
        let inner = self.0.clone();
        Arc::new(Probe::observed_by(move |seen| match seen {
            Seen::Step { report } => inner.step(report),
            Seen::End { report } => inner.note(report, |report| report.ended = true),
        }))
    }

    /// Holds the `n`-th step of that report, from 1, before it is made.
    pub fn hold(&self, report: &str, n: u64) {
        self.0.note(report, |report| report.hold_at = Some(n));
    }

    /// Holds the next step of that report.
    pub fn hold_next(&self, report: &str) {
        self.0
            .note(report, |report| report.hold_at = Some(report.steps + 1));
    }

    pub fn release(&self, report: &str) {
        self.0.note(report, |report| report.hold_at = None);
        self.0.let_go.notify_all();
    }

    pub fn of(&self, report: &str) -> Calculation {
        self.0.lock().get(report).copied().unwrap_or_default()
    }

    /// Waits until that is so of the report.
    pub async fn until(
        &self,
        report: &str,
        what: &str,
        deadline: Duration,
        reached: impl Fn(Calculation) -> bool,
    ) -> Result<(), Failure> {
        within(deadline, what, async {
            loop {
                let mut changed = std::pin::pin!(self.0.changed.notified());
                changed.as_mut().enable();
                if reached(self.of(report)) {
                    return;
                }
                changed.await;
            }
        })
        .await
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        for report in self.0.lock().values_mut() {
            report.hold_at = None;
        }
        self.0.let_go.notify_all();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Calculation>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, report: &str, change: impl FnOnce(&mut Calculation)) {
        change(self.lock().entry(report.to_owned()).or_default());
        self.changed.notify_waiters();
    }

    /// Called on the subject's thread, which waits here while its step is held.
    fn step(&self, report: &str) {
        self.note(report, |report| report.steps += 1);
        let held = |reports: &mut HashMap<String, Calculation>| {
            let of = reports.entry(report.to_owned()).or_default();
            of.held = of.hold_at == Some(of.steps);
            of.held
        };
        let mut reports = self.lock();
        if held(&mut reports) {
            self.changed.notify_waiters();
            let _reports = self
                .let_go
                .wait_while(reports, held)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
