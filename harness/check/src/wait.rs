use std::future::Future;
use std::time::{Duration, Instant};

use crate::Failure;

/// Liveness: the future's output, or a [`Failure`] that says that `what` did not happen.
///
/// The deadline is real time as tokio sees it, so it does not fire when every worker is blocked; the check's parent
/// process has a clock of its own for that.
pub async fn within<T>(
    deadline: Duration,
    what: &str,
    future: impl Future<Output = T>,
) -> Result<T, Failure> {
    tokio::time::timeout(deadline, future)
        .await
        .map_err(|_| Failure::new(format!("{what} did not happen within {deadline:?}")))
}

/// Asks until the answer is `Some`, or the deadline has passed. For states that send no event when they change;
/// whatever has an event is waited for by that event.
pub async fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> Result<T, Failure> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        if begun.elapsed() > deadline {
            return Err(Failure::new(format!("{what} did not happen within {deadline:?}")));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
