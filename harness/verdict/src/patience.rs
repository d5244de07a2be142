//! How long a deadline is on a busy machine.

use std::time::Duration;

/// A deadline that grows by the time in which something on this machine stood ready and waited for a processor, up to
/// twice its length: a check that is starved is not one that hangs. On an idle machine nothing is added, so what hangs is
/// found out on time.
///
/// The figure is the kernel's pressure stall information (`/proc/pressure/cpu`, "some", `total` in µs; Linux 4.20 and
/// later, `Documentation/accounting/psi.rst`). It is of the whole machine, servers included, and knows nothing of other
/// causes of slowness, such as a slow disk. Where the kernel does not tell, the deadline stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    deadline: Duration,
    stalled_before: Option<Duration>,
}

impl Patience {
    pub fn new(deadline: Duration) -> Patience {
        Patience {
            deadline,
            stalled_before: stalled(),
        }
    }

    /// What the deadline, counted from [`Patience::new`], is by now.
    pub fn limit(&self) -> Duration {
        extended(self.deadline, self.stalled_before, stalled())
    }
}

fn extended(deadline: Duration, before: Option<Duration>, now: Option<Duration>) -> Duration {
    let starved = match (before, now) {
        (Some(before), Some(now)) => now.saturating_sub(before),
        _ => Duration::ZERO,
    };
    deadline + starved.min(deadline)
}

/// How long something has waited for a processor since the machine started.
fn stalled() -> Option<Duration> {
    total(&std::fs::read_to_string("/proc/pressure/cpu").ok()?)
}

/// `some avg10=0.12 avg60=0.10 avg300=0.05 total=789774965`, in microseconds.
fn total(pressure: &str) -> Option<Duration> {
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = some.split(' ').find_map(|figure| figure.strip_prefix("total="))?;
    total.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[rstest]
    #[case::idle(Some(S(7)), Some(S(7)), S(10))]
    #[case::starved_for_a_while(Some(S(7)), Some(S(11)), S(14))]
    #[case::starved_all_the_while(Some(S(7)), Some(S(700)), S(20))]
    #[case::a_kernel_that_does_not_tell(None, None, S(10))]
    #[case::a_counter_that_was_reset(Some(S(7)), Some(S(1)), S(10))]
    fn a_deadline_grows_by_the_time_that_was_starved(
        #[case] before: Option<Duration>,
        #[case] now: Option<Duration>,
        #[case] limit: Duration,
    ) {
        assert_eq!(extended(S(10), before, now), limit);
    }

    #[test]
    fn the_kernels_words() {
        let told = "some avg10=98.59 avg60=97.77 avg300=90.01 total=789774965\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(total(told), Some(Duration::from_micros(789_774_965)));
        assert_eq!(total("full avg10=0.00 total=1"), None);
    }
}
