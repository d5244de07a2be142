//! A queue of messages that wait until they are let go, in order of arrival.

use super::front::reached;
use crate::Failure;
use crate::wait::patiently;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

pub use crate::sweep::Fate;

#[derive(Debug, Default)]
pub(crate) struct Gated {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    open: bool,
    waiting: VecDeque<oneshot::Sender<Fate>>,
    matched: usize,
}

impl Gated {
    /// Joins the queue; `None` when the gate is open.
    pub fn enter(&self) -> Option<oneshot::Receiver<Fate>> {
        let mut queue = self.lock();
        if queue.open {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        queue.waiting.push_back(sender);
        drop(queue);
        self.changed.notify_waiters();
        Some(receiver)
    }

    pub fn match_one(&self) {
        self.lock().matched += 1;
        self.changed.notify_waiters();
    }

    pub fn matched(&self) -> usize {
        self.lock().matched
    }

    /// Those whose connection has been cut in the meantime don't wait any more.
    pub fn waiting(&self) -> usize {
        self.lock()
            .waiting
            .iter()
            .filter(|sender| !sender.is_closed())
            .count()
    }

    pub fn release_one(&self) -> bool {
        let mut queue = self.lock();
        while let Some(sender) = queue.waiting.pop_front() {
            if sender.send(Fate::Go).is_ok() {
                return true;
            }
        }
        false
    }

    pub fn open(&self) {
        let mut queue = self.lock();
        queue.open = true;
        for sender in queue.waiting.drain(..) {
            // A receiver that is gone was cut; there is nobody to let go.
            sender.send(Fate::Go).ok();
        }
    }

    pub async fn until(
        &self,
        what: &str,
        n: usize,
        deadline: Duration,
        count: impl Fn(&Gated) -> usize,
    ) -> Result<(), Failure> {
        patiently(deadline, reached(&self.changed, || count(self) >= n))
            .await
            .map_err(|limit| Failure::new(format!("{} of {n} {what} within {limit:?}", count(self))))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_waiting_goes_first_and_the_dead_are_passed_over() {
        let gate = Gated::default();
        let (first, mut second, mut third) = (gate.enter(), gate.enter().unwrap(), gate.enter().unwrap());
        assert_eq!(gate.waiting(), 3);
        drop(first);
        assert_eq!(gate.waiting(), 2);
        assert!(gate.release_one());
        assert_eq!(second.try_recv(), Ok(Fate::Go));
        assert!(third.try_recv().is_err());
        gate.open();
        assert_eq!(third.try_recv(), Ok(Fate::Go));
        assert!(gate.enter().is_none());
        assert!(!gate.release_one());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_arrivals_needs_no_clock() {
        let gate = std::sync::Arc::new(Gated::default());
        let entering = gate.clone();
        let arrivals = tokio::spawn(async move { (entering.enter(), entering.enter()) });
        gate.until("arrived", 2, Duration::from_secs(1), Gated::waiting)
            .await
            .unwrap();
        drop(arrivals.await);
        let failure = gate
            .until("arrived", 1, Duration::from_secs(1), Gated::waiting)
            .await
            .unwrap_err();
        assert_eq!(failure.to_string(), "0 of 1 arrived within 1s");
    }
}
