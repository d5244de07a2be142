//! How often a future is polled.
//!
//! A loop that spins wakes itself again and again; one that waits is polled once per event. So the polls of a future
//! during a while in which nothing happens tell one from the other, on any machine, in the same numbers.
//!
//! Counts polls of the wrapped future alone; it costs an addition per poll. It cannot see turns that a loop takes inside
//! one poll (tokio's own channels end those after 128 operations, and so show), nor tasks that the future spawns:
//! [`parks`] counts how often their thread went to sleep.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;

/// A count that wrapped futures share.
#[derive(Clone, Debug, Default)]
pub struct Polls {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    polls: u64,
    /// Who is told when so many have been seen.
    waiting: Vec<(u64, Waker)>,
}

impl Polls {
    pub fn new() -> Polls {
        Polls::default()
    }

    /// `future`, with its polls counted.
    pub fn of<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        Counted {
            polls: self.clone(),
            // Boxed, so that it can be polled without `unsafe`.
            future: Box::pin(future),
        }
    }

    pub fn seen(&self) -> u64 {
        self.lock().polls
    }

    /// Resolves once `polls` have been seen in all. It waits for the event, so a stopped clock can still move.
    pub async fn reach(&self, polls: u64) {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if state.polls >= polls {
                return Poll::Ready(());
            }
            state.waiting.push((polls, cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    fn count(&self) {
        let mut state = self.lock();
        state.polls += 1;
        let polls = state.polls;
        let due: Vec<Waker> = state
            .waiting
            .extract_if(.., |(wanted, _)| *wanted <= polls)
            .map(|(_, waker)| waker)
            .collect();
        drop(state);
        due.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Counted<F> {
    polls: Polls,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.count();
        self.future.as_mut().poll(cx)
    }
}

/// How often the first worker of the current runtime went to sleep because nothing was left to do: of a current-thread
/// runtime, each time that something woke it. The caller's own waits are among them.
///
/// # Panics
/// Outside a runtime.
pub fn parks() -> u64 {
    Handle::current().metrics().worker_park_count(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_is_polled_once_per_event() {
        let polls = Polls::new();
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<u32>(8);
        let waits = tokio::spawn(polls.of(async move { while receiver.recv().await.is_some() {} }));
        for number in 0..5 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sender.send(number).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(polls.seen(), 6);
        drop(sender);
        waits.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_spinning_loop_is_seen_before_its_second_is_over() {
        let polls = Polls::new();
        let (sender, mut closed) = tokio::sync::watch::channel(());
        drop(sender);
        let spins = tokio::spawn(polls.of(async move {
            loop {
                closed.changed().await.ok();
            }
        }));
        tokio::select! {
            () = polls.reach(500) => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => panic!("{} polls", polls.seen()),
        }
        spins.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_spawned_loop_shows_in_the_parks() {
        let begun = parks();
        let ticks = tokio::spawn(async {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        ticks.abort();
        assert!(parks() - begun >= 900, "{}", parks() - begun);
        let quiet = parks();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(parks() - quiet <= 5, "{}", parks() - quiet);
    }
}
