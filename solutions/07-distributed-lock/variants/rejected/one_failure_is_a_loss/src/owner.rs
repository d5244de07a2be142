//! The task that has a day: it renews the lock, takes the report to the archive, and puts it on record.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::error::LockError;
use crate::ext::{ReportSink, SinkError};
use crate::job::JobError;
use crate::lease::Lease;
use crate::ledger::Ledger;
use crate::lock::Key;
use crate::reporter::{LockCfg, Outcome};

/// Before something is tried again.
const AGAIN: Duration = Duration::from_millis(80);

pub(crate) type Made = Result<Vec<u8>, JobError>;
pub(crate) type Answer = Result<Outcome, LockError>;

pub(crate) struct Owner {
    pub(crate) day: NaiveDate,
    pub(crate) fence: i64,
    pub(crate) key: Box<dyn Key>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) sink: Arc<dyn ReportSink>,
    pub(crate) cfg: LockCfg,
}

impl Owner {
    /// `made` closes, and `caller` does, when the caller goes.
    pub(crate) async fn own(self, made: oneshot::Receiver<Made>, mut caller: oneshot::Sender<Answer>) {
        let made = tokio::select! {
            biased;
            () = self.lease.ended() => None,
            made = made => Some(made),
            never = self.renew() => match never {},
        };
        let answer = match made {
            _ if self.lease.over() => Ok(Outcome::LostLease),
            None => Ok(Outcome::LostLease),
            // It was dropped, or the job has panicked.
            Some(Err(_)) => {
                let _ = self.unlocked().await;
                return;
            }
            Some(Ok(Err(error))) => match self.unlocked().await {
                Ok(true) => Err(error.into()),
                Ok(false) => Ok(Outcome::LostLease),
                Err(error) => Err(error),
            },
            Some(Ok(Ok(body))) => self.publish(&body, &mut caller).await,
        };
        let _ = caller.send(answer);
    }

    async fn publish(&self, body: &[u8], caller: &mut oneshot::Sender<Answer>) -> Answer {
        let confirmed = tokio::select! {
            biased;
            () = self.lease.ended() => false,
            () = caller.closed() => {
                let _ = self.unlocked().await;
                false
            }
            confirmed = self.confirmed() => confirmed,
        };
        if !confirmed || self.lease.over() {
            return Ok(Outcome::LostLease);
        }
        let mut published = pin!(self.sink.publish(self.day, self.fence.unsigned_abs(), body));
        let published = tokio::select! {
            biased;
            () = self.lease.ended() => return Ok(Outcome::LostLease),
            published = &mut published => published,
            never = self.renew_for(caller) => match never {},
        };
        match published {
            Ok(()) => {}
            Err(error) => {
                let mine = self.unlocked().await.unwrap_or(false);
                return match error {
                    // Who has the day by now is the one that was faster.
                    SinkError::Stale { .. } if !mine => Ok(Outcome::LostLease),
                    error => Err(error.into()),
                };
            }
        }
        let recorded = tokio::select! {
            biased;
            () = self.lease.ended() => return Ok(Outcome::LostLease),
            recorded = again(|| self.ledger.done(self.day, self.fence)) => recorded,
            never = self.renew_for(caller) => match never {},
        };
        if !recorded {
            return Ok(Outcome::LostLease);
        }
        // On record it is; the lock ends by itself if this fails.
        let _ = self.key.unlock().await;
        Ok(Outcome::Ran {
            fence: self.fence.unsigned_abs(),
        })
    }

    async fn renew(&self) -> std::convert::Infallible {
        // Stuck requests are given up while there is time for another.
        let patience = Duration::from_secs(2).min(self.cfg.ttl / 3);
        let mut next = Instant::now() + self.cfg.renew_every;
        loop {
            sleep_until(next).await;
            let asked = Instant::now();
            match timeout(patience, self.key.renew()).await {
                Ok(Ok(true)) if self.lease.extend(asked) => next = asked + self.cfg.renew_every,
                // The server says so, or is not there: whatever it is, the day is not safe.
                _ => {
                    self.lease.forfeit();
                    std::future::pending().await
                }
            }
        }
    }

    /// Renews until the caller is gone; then what is under way has the time that is left.
    async fn renew_for(&self, caller: &mut oneshot::Sender<Answer>) -> std::convert::Infallible {
        tokio::select! {
            biased;
            () = caller.closed() => std::future::pending().await,
            never = self.renew() => never,
        }
    }

    async fn confirmed(&self) -> bool {
        let renewed = again(|| async {
            let asked = Instant::now();
            Ok(self.key.renew().await?.then_some(asked))
        });
        let renewed = renewed.await.is_some_and(|asked| self.lease.extend(asked));
        if !renewed {
            self.lease.forfeit();
        }
        renewed
    }

    /// Tries as long as the lock may be this one's.
    async fn unlocked(&self) -> Result<bool, LockError> {
        loop {
            match self.key.unlock().await {
                Err(error) if self.lease.over() => return Err(error),
                Err(_) => sleep(AGAIN).await,
                unlocked => return unlocked,
            }
        }
    }
}

async fn again<T, F: Future<Output = Result<T, LockError>>>(ask: impl Fn() -> F) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(_) => sleep(AGAIN).await,
        }
    }
}
