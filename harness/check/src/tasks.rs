//! Tasks that are alive on a tokio runtime.
//!
//! Counts what tokio's stable [`RuntimeMetrics::num_alive_tasks`](tokio::runtime::RuntimeMetrics::num_alive_tasks)
//! counts: spawned tasks that have not ended, the check's own included, so compare with a reading from before. It costs
//! nothing while nobody asks. It cannot see threads, blocking closures, or futures that live inside a task.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// Tasks alive on the current runtime. Not strongly consistent: use [`settle`] before judging.
///
/// # Panics
/// Outside a runtime.
pub fn alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Waits until at most `at_most` tasks are alive, or until the number has not fallen for a second; the last reading.
pub async fn settle(at_most: usize) -> usize {
    let mut lowest = alive();
    let mut fell = Instant::now();
    while lowest > at_most && fell.elapsed() < Duration::from_secs(1) {
        // A paused clock returns at once, so the other tasks are given the floor explicitly as well.
        tokio::time::sleep(Duration::from_millis(2)).await;
        tokio::task::yield_now().await;
        let now = alive();
        if now < lowest {
            lowest = now;
            fell = Instant::now();
        }
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ended_tasks_are_not_counted_and_parked_ones_are() {
        let before = alive();
        let parked: Vec<_> = (0..5)
            .map(|_| tokio::spawn(std::future::pending::<()>()))
            .collect();
        for _ in 0..50 {
            tokio::spawn(async {});
        }
        assert_eq!(settle(before + 5).await, before + 5);
        for task in &parked {
            task.abort();
        }
        assert_eq!(settle(before).await, before);
    }
}
