//! How long one thing takes compared with another, on a machine that is busy with others.
//!
//! Single times say little: on a shared machine two runs of one program differ by more than the effects that matter.
//! So the two sides are measured in pairs, one right after the other and in changing order (ABBA), and judged by the
//! median of the pairs' ratios: after 11, 21, … 61 pairs the confidence interval that order statistics give for the
//! median (99.5 %, without any assumption about the noise) lies below the limit, or above it, or more pairs are taken.
//! At the cap it is [`Finding::Inconclusive`], with the spread that was seen.

mod clock;
mod median;

pub use clock::{Clock, process_cpu, thread_cpu};
pub use median::{Finding, Spread, judge};

use crate::Failure;
use std::time::Duration;

/// How many pairs are taken before the first look, between looks, and at most.
pub const PAIRS_FIRST: usize = 11;
pub const PAIRS_STEP: usize = 10;
pub const PAIRS_MAX: usize = 61;

/// Takes pairs of times until the ratio `subject / reference` is known to be below or above `limit`, or the cap is
/// reached. Each side is run once before, unmeasured, to be warm.
///
/// With [`Clock::ProcessCpu`] everything that the process does in the meantime counts, the harness's own threads
/// included; with [`Clock::ThreadCpu`] only what the calling thread does, so both sides must run on it to their end.
/// Wall time is for promises about waiting, with delays that dwarf the noise. Costs as much as it measures: up to 61
/// runs of each side.
pub fn measure(clock: Clock, limit: f64, mut subject: impl FnMut(), mut reference: impl FnMut()) -> Finding {
    subject();
    reference();
    sequential(limit, |pair| {
        let mut times = [Duration::ZERO; 2];
        // The machine drifts: whoever is second in one pair is first in the next.
        for side in if pair.is_multiple_of(2) { [0, 1] } else { [1, 0] } {
            times[side] = if side == 0 {
                clock.time(&mut subject)
            } else {
                clock.time(&mut reference)
            };
        }
        (times[0], times[1])
    })
}

/// The same for sides that are asynchronous. On a runtime with several threads use [`Clock::ProcessCpu`].
pub async fn measure_async(
    clock: Clock,
    limit: f64,
    mut subject: impl AsyncFnMut(),
    mut reference: impl AsyncFnMut(),
) -> Finding {
    subject().await;
    reference().await;
    let mut ratios = Vec::with_capacity(PAIRS_MAX);
    loop {
        let mut times = [Duration::ZERO; 2];
        for side in if ratios.len().is_multiple_of(2) {
            [0, 1]
        } else {
            [1, 0]
        } {
            let begun = clock.now();
            if side == 0 {
                subject().await
            } else {
                reference().await
            }
            times[side] = clock.now().saturating_sub(begun);
        }
        ratios.push(ratio(times[0], times[1]));
        if let Some(finding) = look(&ratios, limit) {
            return finding;
        }
    }
}

/// Takes pairs from `pair` (told the pair's number, from 0), looking after 11, 21, … 61 of them.
fn sequential(limit: f64, mut pair: impl FnMut(usize) -> (Duration, Duration)) -> Finding {
    let mut ratios = Vec::with_capacity(PAIRS_MAX);
    loop {
        let (subject, reference) = pair(ratios.len());
        ratios.push(ratio(subject, reference));
        if let Some(finding) = look(&ratios, limit) {
            return finding;
        }
    }
}

/// What is found, if it is time to look and enough is known, or nothing more can be learnt.
fn look(ratios: &[f64], limit: f64) -> Option<Finding> {
    if ratios.len() < PAIRS_FIRST || !(ratios.len() - PAIRS_FIRST).is_multiple_of(PAIRS_STEP) {
        return None;
    }
    let finding = judge(ratios, limit);
    let done = ratios.len() >= PAIRS_MAX || !matches!(finding, Finding::Inconclusive(_));
    done.then_some(finding)
}

fn ratio(subject: Duration, reference: Duration) -> f64 {
    // A clock that did not move says nothing about either side; a nanosecond keeps the ratio finite.
    let nanos = |time: Duration| time.as_nanos().max(1) as f64;
    nanos(subject) / nanos(reference)
}

impl Finding {
    /// The median ratio when it is known to be on one side of the limit.
    ///
    /// # Errors
    /// Inconclusive, with the spread.
    pub fn ratio(&self) -> Result<f64, Failure> {
        match self {
            Finding::Below(spread) | Finding::Above(spread) => Ok(spread.median),
            Finding::Inconclusive(spread) => Err(Failure::inconclusive(format!(
                "the machine is too noisy to tell: {spread}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times that alternate around a ratio; `noise` is the largest factor either way.
    fn pairs(ratio: f64, noise: f64) -> impl FnMut(usize) -> (Duration, Duration) {
        let mut rng = fastrand::Rng::with_seed(7);
        move |_| {
            let disturbed = |rng: &mut fastrand::Rng| noise.powf(rng.f64() * 2.0 - 1.0);
            let micros = |us: f64| Duration::from_nanos((us * 1000.0) as u64);
            (
                micros(1000.0 * ratio * disturbed(&mut rng)),
                micros(1000.0 * disturbed(&mut rng)),
            )
        }
    }

    #[test]
    fn clear_cases_take_the_fewest_pairs() {
        let Finding::Below(spread) = sequential(4.0, pairs(1.0, 1.5)) else {
            panic!("not below")
        };
        assert_eq!(spread.pairs, PAIRS_FIRST);
        let Finding::Above(spread) = sequential(4.0, pairs(12.0, 1.5)) else {
            panic!("not above")
        };
        assert_eq!(spread.pairs, PAIRS_FIRST);
    }

    #[test]
    fn close_cases_take_more_and_noise_does_not_decide() {
        let Finding::Below(spread) = sequential(1.5, pairs(1.25, 1.4)) else {
            panic!("not below")
        };
        assert!(spread.pairs > PAIRS_FIRST && spread.pairs <= PAIRS_MAX);
        let Finding::Inconclusive(spread) = sequential(1.25, pairs(1.25, 3.0)) else {
            panic!("decided")
        };
        assert_eq!(spread.pairs, PAIRS_MAX);
        let failure = Finding::Inconclusive(spread).ratio().unwrap_err();
        assert!(!failure.is_fail());
        assert!(failure.to_string().contains("after 61 pairs"), "{failure}");
    }

    #[test]
    fn sides_take_turns_in_being_first() {
        let order = std::cell::RefCell::new(Vec::new());
        let finding = measure(
            Clock::ThreadCpu,
            1e12,
            || order.borrow_mut().push('A'),
            || order.borrow_mut().push('B'),
        );
        assert!(matches!(finding, Finding::Below(_)));
        let order: String = order.borrow().iter().take(10).collect();
        assert_eq!(order, "ABABBAABBA");
    }

    #[test]
    fn a_clock_that_stood_still_gives_a_ratio_all_the_same() {
        assert_eq!(ratio(Duration::ZERO, Duration::ZERO), 1.0);
        assert!(ratio(Duration::from_secs(1), Duration::ZERO).is_finite());
    }
}
