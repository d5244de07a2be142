//! The clock and the carrier.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use harness::{Failure, eventually};
use tokio::sync::Semaphore;

use crate::subject::{Carrier, CarrierError, Clock};

/// Stands still until it is told otherwise.
#[derive(Debug)]
pub struct SetClock(Mutex<Instant>);

impl Default for SetClock {
    fn default() -> SetClock {
        SetClock(Mutex::new(Instant::now()))
    }
}

impl SetClock {
    pub fn advance(&self, by: Duration) {
        if let Ok(mut now) = self.0.lock() {
            *now += by;
        }
    }
}

impl Clock for SetClock {
    fn now(&self) -> Instant {
        self.0.lock().map_or_else(|_| Instant::now(), |now| *now)
    }
}

/// Answers when it is let, or not at all.
#[derive(Debug)]
pub struct SlowCarrier {
    pub cents: i64,
    asked: AtomicUsize,
    let_go: Semaphore,
}

impl SlowCarrier {
    pub fn new(cents: i64) -> SlowCarrier {
        SlowCarrier {
            cents,
            asked: AtomicUsize::new(0),
            let_go: Semaphore::new(0),
        }
    }

    /// Everybody who asks is answered from now on.
    pub fn let_go(&self) {
        self.let_go.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    pub async fn until_asked(&self, times: usize, deadline: Duration) -> Result<(), Failure> {
        let asked = async || (self.asked.load(Ordering::Relaxed) >= times).then_some(());
        eventually(deadline, &format!("the {times}th question to the carrier"), asked).await
    }
}

#[async_trait]
impl Carrier for SlowCarrier {
    async fn quote(&self, _sku: &str, _quantity: i64) -> Result<i64, CarrierError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let _one = self.let_go.acquire().await.map_err(|_| CarrierError)?;
        Ok(self.cents)
    }
}

/// Never answers.
#[derive(Clone, Copy, Debug)]
pub struct NoCarrier;

#[async_trait]
impl Carrier for NoCarrier {
    async fn quote(&self, _sku: &str, _quantity: i64) -> Result<i64, CarrierError> {
        Err(CarrierError)
    }
}
