//! Lets the server hear of this replica: for all of its days at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::days::{Days, Mine};
use crate::hold::Hold;
use crate::reporter::LockCfg;

/// After a beat that was not heard.
const SOON: Duration = Duration::from_millis(100);

pub(crate) struct Heart {
    days: Arc<dyn Days>,
    cfg: LockCfg,
    body: Mutex<Body>,
}

#[derive(Default)]
struct Body {
    count: u64,
    held: BTreeMap<u64, (Mine, Arc<Hold>)>,
    /// Beats as long as there is something to beat for.
    beating: Option<JoinHandle<()>>,
}

/// A day that the heart beats for, until this is dropped.
pub(crate) struct Beats {
    heart: Arc<Heart>,
    pub(crate) number: u64,
}

impl Heart {
    pub(crate) fn new(days: Arc<dyn Days>, cfg: LockCfg) -> Arc<Heart> {
        let body = Mutex::default();
        Arc::new(Heart { days, cfg, body })
    }

    pub(crate) fn beat_for(self: &Arc<Heart>, mine: Mine, hold: Arc<Hold>) -> Beats {
        let mut body = self.body();
        body.count += 1;
        let number = body.count;
        body.held.insert(number, (mine, hold));
        if body.beating.as_ref().is_none_or(JoinHandle::is_finished) {
            body.beating = Some(tokio::spawn(self.clone().beat()));
        }
        Beats {
            heart: self.clone(),
            number,
        }
    }

    /// What is heard of the day from now on is about something else.
    pub(crate) fn stop(&self, number: u64) {
        self.body().held.remove(&number);
    }

    async fn beat(self: Arc<Heart>) {
        let mut next = Instant::now() + self.cfg.renew_every;
        loop {
            sleep_until(next).await;
            let held = {
                let mut body = self.body();
                if body.held.is_empty() {
                    // Under the lock: whoever comes next starts another one.
                    body.beating = None;
                    return;
                }
                body.held.clone()
            };
            let days: Vec<Mine> = held.values().map(|(mine, _)| mine.clone()).collect();
            let asked = Instant::now();
            next = asked + self.cfg.renew_every;
            let patience = Duration::from_secs(2).min(self.cfg.ttl / 3);
            let heard = timeout(patience, self.days.beat(&days)).await;
            let heard = heard.unwrap_or_else(|_| vec![None; days.len()]);
            let body = self.body();
            for ((number, (_, hold)), heard) in held.iter().zip(heard) {
                if !body.held.contains_key(number) {
                    continue;
                }
                match heard {
                    Some(true) => hold.renewed(asked),
                    Some(false) => hold.lose(),
                    None if !hold.is_lost() => next = Instant::now() + SOON,
                    None => {}
                }
            }
        }
    }

    fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        self.heart.stop(self.number);
    }
}
