//! Until when the day is surely this replica's. Whoever renews has the sending end; the others watch.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Timers are not exact, and two clocks are not one.
const SLACK: Duration = Duration::from_millis(40);

#[derive(Debug)]
pub(crate) struct Belief {
    ttl: Duration,
    until: watch::Sender<Instant>,
}

#[derive(Clone, Debug)]
pub(crate) struct Until(watch::Receiver<Instant>);

impl Belief {
    pub(crate) fn new(asked: Instant, ttl: Duration) -> Belief {
        let ttl = ttl.saturating_sub(SLACK);
        let until = watch::Sender::new(asked + ttl);
        Belief { ttl, until }
    }

    pub(crate) fn watched(&self) -> Until {
        Until(self.until.subscribe())
    }

    /// The server has answered a question of then. Too late an answer is none.
    pub(crate) fn heard(&self, asked: Instant) {
        self.until.send_if_modified(|until| {
            let in_time = Instant::now() < *until;
            if in_time {
                *until = (*until).max(asked + self.ttl);
            }
            in_time
        });
    }

    pub(crate) fn lost(&self) {
        self.until.send_modify(|until| *until = (*until).min(Instant::now()));
    }
}

impl Until {
    pub(crate) fn is_over(&self) -> bool {
        *self.0.borrow() <= Instant::now()
    }

    pub(crate) async fn over(&self) {
        let mut changes = self.0.clone();
        loop {
            let until = *changes.borrow_and_update();
            if until <= Instant::now() {
                return;
            }
            tokio::select! {
                () = sleep_until(until) => {}
                changed = changes.changed() => {
                    if changed.is_err() {
                        // Nobody renews any more: it ends then.
                        sleep_until(until).await;
                    }
                }
            }
        }
    }
}
