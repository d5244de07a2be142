//! Users who do not know of each other, and do not wait for each other: open-loop traffic.
//!
//! The clock runs on a thread of its own, so that a service whose threads are all blocked is still asked, and seen not to
//! answer.

use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::runtime::Builder;

use crate::shift::Shift;

/// Makes `per_second` calls a second on average, each in a task of the service's runtime, until the traffic's time is
/// over. `call` is asked for each when it is due, with how long after the beginning that is; what it returns says whether
/// the user got what they wanted. The same seed makes the same calls at the same times.
///
/// # Errors
/// No thread can be started.
pub async fn arrivals<F>(
    shift: &Shift,
    per_second: f64,
    mut call: impl FnMut(&mut Rng, Duration) -> (&'static str, F) + Send + 'static,
) -> Result<(), String>
where
    F: Future<Output = bool> + Send + 'static,
{
    crate::chart::waiting(shift);
    let (calls, lasts, service) = (shift.calls(), shift.lasts(), shift.0.service.clone());
    let asked = shift.clone();
    let mut rng = Rng::with_seed(shift.seed());
    let runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| format!("failed to start the traffic's runtime: {error}"))?;
    let (done, ended) = tokio::sync::oneshot::channel();
    let work = move || {
        runtime.block_on(async {
            let begun = Instant::now();
            let mut after = 0.0;
            loop {
                after -= (1.0 - rng.f64()).ln() / per_second;
                let after = Duration::from_secs_f64(after);
                if after > lasts {
                    break;
                }
                let due = begun + after;
                tokio::time::sleep_until(due.into()).await;
                let (kind, made) = call(&mut rng, after);
                let due = calls.due(kind, due);
                service.spawn(async move { due.answered(made.await) });
            }
        });
        done.send(()).ok();
        asked.0.over.notify_one();
    };
    std::thread::Builder::new()
        .name("traffic".to_owned())
        .spawn(work)
        .map_err(|error| format!("failed to start the traffic's thread: {error}"))?;
    ended.await.map_err(|_| "the traffic panicked".to_owned())
}
