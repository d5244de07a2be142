//! A night of `pulse`, compressed: what keeps coming in, whether or not the hub keeps up.
//!
//! Open-loop: each call is made when it is due, in a task of its own, and its latency counts from then. The same seed
//! makes the same calls at the same times. Most of the fleet stands at two sites with bad connections.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::{large_batch, message};
use crate::subject::{DeviceId, Hub, Session};

/// Calls per second, of all kinds.
const CALLS_PER_SECOND: f64 = 1200.0;
const BODY_BYTES: usize = 256 * 1024;
/// Sites by name, with their devices and how many in a hundred calls of a device there are reconnects.
const SITES: [(&str, usize, u32); 3] = [("oslo", 120, 20), ("bergen", 120, 20), ("tromso", 60, 1)];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Reconnect(DeviceId),
    Heartbeat(DeviceId),
    /// A batch of one record with a large body.
    Batch(DeviceId),
    Publish(&'static str, u64),
}

/// A call that has been answered.
#[derive(Clone, Debug)]
pub struct Answered {
    pub call: Call,
    /// From when it was due, not from when it was made.
    pub latency: Duration,
    pub ok: bool,
}

/// The calls of a night and when each is due, counted from its beginning. Never ends.
pub fn calls(seed: u64) -> impl Iterator<Item = (Duration, Call)> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let fleet: Vec<(DeviceId, &'static str, u32)> = SITES
        .into_iter()
        .flat_map(|(site, devices, bad)| {
            super::fleet(site, devices)
                .into_iter()
                .map(move |d| (d, site, bad))
        })
        .collect();
    let mut due = 0.0;
    let mut number = 0;
    std::iter::from_fn(move || {
        // Arrivals that do not know of each other.
        due -= (1.0 - rng.f64()).ln() / CALLS_PER_SECOND;
        let (device, site, bad) = fleet[rng.usize(..fleet.len())].clone();
        let call = match rng.u32(..100) {
            n if n < bad => Call::Reconnect(device),
            98 => Call::Batch(device),
            99 => {
                number += 1;
                Call::Publish(site, number)
            }
            _ => Call::Heartbeat(device),
        };
        Some((Duration::from_secs_f64(due), call))
    })
}

/// Connects the fleet and makes the calls that are due within `lasts`. `answered` hears of each; calls that are still
/// under way at the end are not waited for.
pub async fn drive(
    hub: &Arc<Hub>,
    seed: u64,
    lasts: Duration,
    answered: impl Fn(Answered) + Clone + Send + 'static,
) {
    let fleet = Arc::new(Fleet::default());
    for (site, devices, _) in SITES {
        for device in super::fleet(site, devices) {
            fleet.connected(device.clone(), hub.connect(device).await);
        }
    }
    let begun = Instant::now();
    for (after, call) in calls(seed).take_while(|(after, _)| *after <= lasts) {
        let due = begun + after;
        sleep_until(due).await;
        let (hub, fleet, answered) = (Arc::clone(hub), Arc::clone(&fleet), answered.clone());
        tokio::spawn(async move {
            let ok = make(&hub, &fleet, call.clone()).await;
            answered(Answered {
                call,
                latency: due.elapsed(),
                ok,
            });
        });
    }
}

async fn make(hub: &Hub, fleet: &Fleet, call: Call) -> bool {
    match call {
        Call::Reconnect(device) => fleet.connected(device.clone(), hub.connect(device).await),
        Call::Heartbeat(device) => hub.touch(&device),
        Call::Batch(device) => {
            return hub
                .ingest(large_batch(&device, b"fw=1.2", BODY_BYTES))
                .await
                .is_ok();
        }
        Call::Publish(site, number) => drop(hub.publish(site, message(number)).await),
    }
    true
}

/// The devices' side: what reads each session. A device that comes back leaves its old connection.
#[derive(Default)]
struct Fleet(Mutex<std::collections::HashMap<DeviceId, AbortHandle>>);

impl Fleet {
    fn connected(&self, device: DeviceId, mut session: Session) {
        let reading = tokio::spawn(async move { while session.next().await.is_some() {} });
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = readers.insert(device, reading.abort_handle()) {
            old.abort();
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let readers = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        readers.values().for_each(AbortHandle::abort);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use harness::{alloc, tasks};

    use super::*;
    use crate::subject::HubConfig;

    #[test]
    fn the_same_seed_makes_the_same_night() {
        let night = |seed| calls(seed).take(5000).collect::<Vec<_>>();
        assert_eq!(night(7), night(7));
        assert_ne!(night(7), night(8));
        let (last, _) = night(7)[4999];
        let expected = 5000.0 / CALLS_PER_SECOND;
        assert!((last.as_secs_f64() / expected - 1.0).abs() < 0.1, "{last:?}");
    }

    /// Half a minute makes the symptom plain on the broken code, and leaves a fix as it was.
    #[tokio::test(start_paused = true)]
    async fn the_night_shows_what_grows() {
        let hub = Arc::new(Hub::new(HubConfig {
            idle_ttl: Duration::from_secs(60),
            outbox: 64,
            sweep: Duration::from_secs(1),
        }));
        let answered = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&answered);
        let hear = move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        drive(&hub, 1, Duration::from_secs(10), hear.clone()).await;
        let (before, alive) = (alloc::settled().await, tasks::alive());
        drive(&hub, 2, Duration::from_secs(20), hear).await;
        let grown = (alloc::settled().await - before).live_bytes;
        let more = tasks::alive().saturating_sub(alive);
        assert!(answered.load(Ordering::Relaxed) > 30_000);
        if cfg!(feature = "exercise") {
            assert!(grown > 32 << 20 && more > 5_000, "{grown} bytes, {more} tasks");
        } else {
            assert!(grown < 4 << 20 && more < 100, "{grown} bytes, {more} tasks");
        }
    }
}
