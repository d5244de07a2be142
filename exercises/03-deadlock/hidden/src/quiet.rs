//! A barrier for those who may come, and may rightly not: of two transfers between the same accounts one waits where
//! nobody sees it.

use std::time::{Duration, Instant};

use harness::Pulse;

/// Nobody else has come for this long. Not a judgement: only how long there is to come.
const QUIET: Duration = Duration::from_millis(500);
/// Where fewer have come than it takes to pass, they get this long: a busy machine is slow, not serial.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who wants to come does so within this, if nothing is in the way; a barrier that it is no matter to miss.
const MOMENT: Duration = Duration::from_millis(100);

/// Waits until `all` have come, or a moment.
pub async fn until_waiting(pulse: &Pulse, come: impl Fn() -> usize, all: usize) {
    let begun = Instant::now();
    while come() < all && begun.elapsed() < MOMENT {
        pulse.beat();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until `all` have come, or until at least `enough` have and then nobody for a while; returns how many have.
pub async fn until_quiet(pulse: &Pulse, come: impl Fn() -> usize, enough: usize, all: usize) -> usize {
    let mut last = (come(), Instant::now());
    loop {
        let now = come();
        if now != last.0 {
            last = (now, Instant::now());
        }
        let patience = if now >= enough { QUIET } else { PATIENCE };
        if now >= all || last.1.elapsed() > patience {
            return now;
        }
        pulse.beat();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
