//! Until when a replica has its day.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What timers and clocks may be off: the job ends before the server lets others have the day.
const MARGIN: Duration = Duration::from_millis(30);

/// Once it is over, it is over.
#[derive(Debug)]
pub(crate) struct Hold {
    ttl: Duration,
    /// None: lost.
    until: watch::Sender<Option<Instant>>,
}

impl Hold {
    /// `asked`: when the question was sent that the server has answered.
    pub(crate) fn new(asked: Instant, ttl: Duration) -> Hold {
        let ttl = ttl.saturating_sub(MARGIN);
        let until = watch::Sender::new(Some(asked + ttl));
        Hold { ttl, until }
    }

    pub(crate) fn renewed(&self, asked: Instant) {
        let until = asked + self.ttl;
        self.until.send_modify(|now| {
            *now = now.filter(|now| Instant::now() < *now).map(|now| now.max(until));
        });
    }

    pub(crate) fn lose(&self) {
        self.until.send_replace(None);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.until.borrow().is_none_or(|until| Instant::now() >= until)
    }

    pub(crate) async fn lost(&self) {
        let mut changes = self.until.subscribe();
        while !self.is_lost() {
            let until = *changes.borrow_and_update();
            let Some(until) = until else { return };
            tokio::select! {
                () = sleep_until(until) => {}
                _ = changes.changed() => {}
            }
        }
    }
}
