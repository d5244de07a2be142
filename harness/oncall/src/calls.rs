//! What users asked for and how it went. Latency counts from when a call was due, not from when it was made: a service
//! that stalls is charged for those whom it kept from asking.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Longer latencies are counted as this long.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Upper edges of Prometheus' buckets, in seconds.
pub(crate) const BUCKETS_S: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// Shared by the traffic, which tells it what happened, and by whoever looks.
#[derive(Clone, Default)]
pub struct Calls(Arc<Inner>);

#[derive(Default)]
struct Inner {
    told: Mutex<Told>,
    waiting: AtomicI64,
}

#[derive(Default)]
struct Told {
    kinds: BTreeMap<&'static str, Counts>,
    window: Option<Histogram<u64>>,
    /// Since the start, by bucket; the last is beyond all edges.
    buckets: [u64; BUCKETS_S.len() + 1],
    seconds: f64,
}

/// How often a kind of call was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub ok: u64,
    pub failed: u64,
}

/// What happened since somebody last asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    pub answered: u64,
    pub p50_s: f64,
    pub p99_s: f64,
}

/// All calls since the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub kinds: BTreeMap<&'static str, Counts>,
    pub buckets: [u64; BUCKETS_S.len() + 1],
    pub seconds: f64,
    pub waiting: i64,
}

impl Totals {
    pub fn answered(&self) -> u64 {
        self.kinds.values().map(|counts| counts.ok + counts.failed).sum()
    }

    pub fn failed(&self) -> u64 {
        self.kinds.values().map(|counts| counts.failed).sum()
    }
}

impl Calls {
    /// A call of this kind is due. It waits until it is told how it was [`Due::answered`], or given up.
    pub fn due(&self, kind: &'static str, due: Instant) -> Due {
        self.0.waiting.fetch_add(1, Relaxed);
        Due {
            calls: self.clone(),
            kind,
            due,
        }
    }

    /// A call was answered.
    pub fn answered(&self, kind: &'static str, latency: Duration, ok: bool) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_US_MAX);
        let seconds = latency.as_secs_f64();
        let bucket = BUCKETS_S
            .iter()
            .position(|edge| seconds <= *edge)
            .unwrap_or(BUCKETS_S.len());
        let mut told = self.told();
        let counts = told.kinds.entry(kind).or_default();
        match ok {
            true => counts.ok += 1,
            false => counts.failed += 1,
        }
        told.buckets[bucket] += 1;
        told.seconds += seconds;
        if told.window.is_none() {
            told.window = Histogram::new_with_bounds(1, LATENCY_US_MAX, 2).ok();
        }
        if let Some(window) = &mut told.window {
            window.saturating_record(us.max(1));
        }
    }

    /// What was answered since the last time.
    pub(crate) fn window(&self) -> Window {
        let window = self.told().window.take();
        let Some(window) = window else {
            return Window::default();
        };
        Window {
            answered: window.len(),
            p50_s: window.value_at_quantile(0.5) as f64 / 1e6,
            p99_s: window.value_at_quantile(0.99) as f64 / 1e6,
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let told = self.told();
        Totals {
            kinds: told.kinds.clone(),
            buckets: told.buckets,
            seconds: told.seconds,
            waiting: self.0.waiting.load(Relaxed),
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that nobody has answered yet.
#[must_use = "a call waits until it is answered or given up"]
pub struct Due {
    calls: Calls,
    kind: &'static str,
    due: Instant,
}

impl Due {
    pub fn answered(self, ok: bool) {
        self.calls.answered(self.kind, self.due.elapsed(), ok);
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        self.calls.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_counted_once_and_from_when_it_was_due() {
        let calls = Calls::default();
        let due = Instant::now().checked_sub(Duration::from_secs(3)).unwrap();
        let one = calls.due("pay", due);
        let lost = calls.due("pay", due);
        assert_eq!(calls.totals().waiting, 2);
        one.answered(true);
        drop(lost);
        let totals = calls.totals();
        assert_eq!((totals.waiting, totals.answered(), totals.failed()), (0, 1, 0));
        let window = calls.window();
        assert!(window.answered == 1 && window.p99_s >= 2.9);
        assert_eq!(calls.window().answered, 0);
    }
}
