//! The numbered points of a run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// What becomes of a message at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It passes.
    Go,
    /// It is lost, and its connection breaks.
    Lose,
}

/// Numbers the points of a run in the order in which they are reached, whichever tap or stub they come from, and stops
/// the one that is to be disturbed.
///
/// Counts only while armed, so that setting up and verifying are no points. Costs a lock per message. Where an
/// operation uses several connections at once, their points may come in another order from run to run.
#[derive(Debug, Clone, Default)]
pub struct Points(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    armed: bool,
    labels: Vec<String>,
    target: Option<Target>,
}

#[derive(Debug)]
struct Target {
    number: usize,
    action: Action,
}

#[derive(Debug)]
enum Action {
    /// Lost at once.
    Lose,
    /// Held, until the receiver of this has done what it means to do and tells the fate.
    Tell(oneshot::Sender<Reached>),
}

/// A message that is held at the point that is to be disturbed.
#[derive(Debug)]
pub(super) struct Reached {
    pub fate: oneshot::Sender<Fate>,
}

impl Points {
    pub fn new() -> Points {
        Points::default()
    }

    /// For stub servers: a message is at this point. Waits while the driver does what it is about, and returns what
    /// the stub is to do with the message.
    pub async fn pass(&self, label: impl Into<String>) -> Fate {
        match self.visit(label.into()) {
            None => Fate::Go,
            // A driver that has gone away has nothing against the message.
            Some(fate) => fate.await.unwrap_or(Fate::Go),
        }
    }

    /// The points reached since they were armed, in order.
    pub fn reached(&self) -> Vec<String> {
        self.lock().labels.clone()
    }

    /// Like [`Points::pass`], for those who go on reading while they wait; `None` means that the message passes.
    pub(crate) fn visit(&self, label: String) -> Option<oneshot::Receiver<Fate>> {
        let mut inner = self.lock();
        if !inner.armed {
            return None;
        }
        inner.labels.push(label);
        let number = inner.labels.len();
        if inner.target.as_ref()?.number != number {
            return None;
        }
        let (fate, receiver) = oneshot::channel();
        match inner.target.take()?.action {
            Action::Lose => fate.send(Fate::Lose).ok()?,
            Action::Tell(driver) => driver.send(Reached { fate }).ok()?,
        }
        Some(receiver)
    }

    /// Counts from here on, disturbing nothing.
    pub(super) fn arm(&self) {
        self.arm_with(None);
    }

    /// Counts from here on; the `number`-th message from now, from 1, is lost.
    pub(super) fn arm_to_lose(&self, number: usize) {
        self.arm_with(Some(Target {
            number,
            action: Action::Lose,
        }));
    }

    /// Counts from here on; the `number`-th message from now, from 1, is held.
    pub(super) fn arm_to_hold(&self, number: usize) -> oneshot::Receiver<Reached> {
        let (sender, receiver) = oneshot::channel();
        self.arm_with(Some(Target {
            number,
            action: Action::Tell(sender),
        }));
        receiver
    }

    /// Counts no more.
    pub(super) fn disarm(&self) {
        let mut inner = self.lock();
        inner.armed = false;
        inner.target = None;
    }

    fn arm_with(&self, target: Option<Target>) {
        *self.lock() = Inner {
            armed: true,
            labels: Vec::new(),
            target,
        };
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_armed_points_count_and_only_the_target_is_disturbed() {
        let points = Points::new();
        assert_eq!(points.pass("before").await, Fate::Go);
        points.arm_to_lose(2);
        assert_eq!(points.pass("a").await, Fate::Go);
        assert_eq!(points.pass("b").await, Fate::Lose);
        assert_eq!(points.pass("c").await, Fate::Go);
        points.disarm();
        assert_eq!(points.pass("after").await, Fate::Go);
        assert_eq!(points.reached(), ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_held_message_waits_for_its_fate() {
        let points = Points::new();
        let reached = points.arm_to_hold(1);
        let stub = points.clone();
        let stub = tokio::spawn(async move { stub.pass("charge").await });
        let held = reached.await.unwrap();
        assert_eq!(points.reached(), ["charge"]);
        held.fate.send(Fate::Lose).unwrap();
        assert_eq!(stub.await.unwrap(), Fate::Lose);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_driver_that_is_gone() {
        let points = Points::new();
        drop(points.arm_to_hold(1));
        assert_eq!(points.pass("a").await, Fate::Go);
    }
}
