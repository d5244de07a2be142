//! What was seen, twice a second, and kept for the charts.
//!
//! Series are read on a thread of their own: one that waits, because the service holds a lock for ever, keeps the later
//! readings away and nothing else.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::calls::Window;
use crate::shift::Shift;

/// Between two readings.
pub const EVERY: Duration = Duration::from_millis(500);
/// Readings that are kept; when there are more, every second one of the older half goes.
const KEPT: usize = 1200;

/// Everything at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    pub at: Instant,
    /// In the order of the series; those that came later are not in older readings.
    pub values: Vec<f64>,
    pub answered: u64,
    pub failed: u64,
    pub waiting: i64,
    pub window: Window,
}

/// Readings, oldest first.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<VecDeque<Arc<Reading>>>>);

impl History {
    pub fn all(&self) -> Vec<Arc<Reading>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }

    fn push(&self, reading: Reading) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(Arc::new(reading));
        if kept.len() > KEPT {
            let mut place = 0;
            let half = KEPT / 2;
            kept.retain(|_| {
                place += 1;
                place > half || place % 2 == 1
            });
        }
    }
}

/// Reads until the process ends.
pub fn keep(shift: Shift, history: History) {
    crate::heap::exempt_current_thread();
    let mut due = Instant::now();
    loop {
        history.push(read(&shift));
        // Readings that were missed stay so: several in a moment would show rates that never were.
        due = (due + EVERY).max(Instant::now() + EVERY / 2);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn read(shift: &Shift) -> Reading {
    let values = shift
        .0
        .series
        .all()
        .iter()
        .map(|series| (series.read)())
        .collect();
    let totals = shift.0.calls.totals();
    Reading {
        at: Instant::now(),
        values,
        answered: totals.answered(),
        failed: totals.failed(),
        waiting: totals.waiting,
        window: shift.0.calls.window(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_history_gets_coarser_and_keeps_its_ends() {
        let history = History::default();
        for answered in 0..5000 {
            history.push(Reading {
                at: Instant::now(),
                values: Vec::new(),
                answered,
                failed: 0,
                waiting: 0,
                window: Window::default(),
            });
        }
        let all = history.all();
        assert!(all.len() <= KEPT);
        assert_eq!((all[0].answered, all[all.len() - 1].answered), (0, 4999));
        assert!(all.windows(2).all(|pair| pair[0].answered < pair[1].answered));
    }
}
