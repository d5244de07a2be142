use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use verdict::Patience;

use crate::Failure;

/// Liveness: the future's output, or a [`Failure`] that says that `what` did not happen.
///
/// The deadline is time as tokio sees it, so it does not fire when every worker is blocked; the check's parent process
/// has a clock of its own for that. It grows while the machine is starved ([`Patience`]).
pub async fn within<T>(
    deadline: Duration,
    what: &str,
    future: impl Future<Output = T>,
) -> Result<T, Failure> {
    patiently(deadline, future)
        .await
        .map_err(|limit| Failure::new(format!("{what} did not happen within {limit:?}")))
}

/// The future's output, or how long was waited for it.
pub(crate) async fn patiently<T>(deadline: Duration, future: impl Future<Output = T>) -> Result<T, Duration> {
    let (begun, patience) = (tokio::time::Instant::now(), Patience::new(deadline));
    let mut future = pin!(future);
    let mut limit = deadline;
    loop {
        if let Ok(output) = tokio::time::timeout_at(begun + limit, &mut future).await {
            return Ok(output);
        }
        let extended = patience.limit();
        if extended <= limit {
            return Err(limit);
        }
        limit = extended;
    }
}

/// Asks until the answer is `Some`, or the deadline has passed. For states that send no event when they change;
/// whatever has an event is waited for by that event. The deadline grows while the machine is starved ([`Patience`]).
pub async fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> Result<T, Failure> {
    let (begun, patience) = (Instant::now(), Patience::new(deadline));
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        let limit = patience.limit();
        if begun.elapsed() > limit {
            return Err(Failure::new(format!("{what} did not happen within {limit:?}")));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
