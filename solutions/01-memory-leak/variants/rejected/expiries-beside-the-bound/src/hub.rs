use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use moka::sync::Cache;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::api::{Event, HubConfig, HubError, HubSnapshot, IngestReport, Reading};
use crate::device::{Calibration, Calibrator, DeviceId};
use crate::ingest;
use crate::outbox::Outbox;
use crate::registry::{Registry, trim};
use crate::session::Session;

/// Calibrations that are kept ready: more than any region has devices.
const CALIBRATIONS_MAX: u64 = 4096;

/// Connects devices with whoever publishes to them. Lives inside a tokio runtime.
pub struct Hub {
    shared: Arc<Shared>,
    /// The clock and the batches being worked through; shutdown waits for them, even if their callers have gone.
    tasks: TaskTracker,
    /// Ends the tasks, also where the hub is dropped without a shutdown.
    end: DropGuard,
}

pub(crate) struct Shared {
    cfg: HubConfig,
    registry: Mutex<Registry>,
    /// Something has to be looked at earlier than before.
    earlier: Notify,
    headers: Mutex<HashMap<DeviceId, Bytes>>,
    /// Open alarms by site, for the sites that have some.
    alarms: Mutex<HashMap<String, Box<[Reading]>>>,
    calibrator: Calibrator,
    calibrations: Cache<DeviceId, Arc<Calibration>>,
    pub(crate) closing: CancellationToken,
}

impl Hub {
    pub fn new(cfg: HubConfig) -> Hub {
        let closing = CancellationToken::new();
        let shared = Arc::new(Shared {
            cfg,
            registry: Mutex::default(),
            earlier: Notify::new(),
            headers: Mutex::default(),
            alarms: Mutex::default(),
            calibrator: Calibrator::default(),
            calibrations: Cache::new(CALIBRATIONS_MAX),
            closing: closing.clone(),
        });
        let tasks = TaskTracker::new();
        tasks.spawn(clock(shared.clone()));
        Hub {
            shared,
            tasks,
            end: closing.drop_guard(),
        }
    }

    /// Connects a device, which is a sign of life. A device may be connected more than once.
    pub async fn connect(&self, d: DeviceId) -> Session {
        let outbox = Arc::new(Outbox::new(d, self.shared.cfg.outbox));
        self.shared
            .watched(|registry, now| registry.connect(outbox.clone(), now, self.shared.cfg.idle_ttl));
        Session::new(self.shared.clone(), outbox)
    }

    /// A sign of life: the device's idle time starts again.
    pub fn touch(&self, d: &DeviceId) {
        self.shared
            .watched(|registry, now| registry.touch(d, now, self.shared.cfg.idle_ttl));
    }

    /// Works through a gateway's batch, off the caller's task: a batch that panics takes nobody with it.
    pub async fn ingest(&self, batch: Bytes) -> Result<IngestReport, HubError> {
        let shared = self.shared.clone();
        let job = self.tasks.spawn(async move { ingest::run(&shared, &batch) });
        job.await.unwrap_or(Ok(IngestReport {
            panicked: 1,
            ..IngestReport::default()
        }))
    }

    /// The header of the device's last record that had one.
    pub fn last_header(&self, d: &DeviceId) -> Option<Bytes> {
        locked(&self.shared.headers).get(d).cloned()
    }

    /// The alarms of the site's last batch, in its order.
    pub fn alarms(&self, site: &str) -> Vec<Reading> {
        let alarms = locked(&self.shared.alarms);
        alarms.get(site).map(|open| open.to_vec()).unwrap_or_default()
    }

    /// The device's response curve.
    pub fn calibration(&self, d: &DeviceId) -> Arc<Calibration> {
        self.shared.calibration(d)
    }

    /// Tells every session of a site; returns how many live sessions it reached.
    pub async fn publish(&self, topic: &str, e: Event) -> usize {
        let outboxes = locked(&self.shared.registry).at(topic);
        for outbox in &outboxes {
            outbox.push(e.clone());
        }
        outboxes.len()
    }

    pub fn snapshot(&self) -> HubSnapshot {
        let registry = locked(&self.shared.registry);
        HubSnapshot {
            sessions: registry.sessions().count(),
            timers: registry.looks(),
            queued: registry.sessions().map(|outbox| outbox.len()).sum(),
            calibrations: self.shared.calibrator.runs(),
        }
    }

    /// Ends the hub: sessions read what was published before, then `None`.
    pub async fn shutdown(self) {
        drop(self.end);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Tells devices that they have expired. At the end of the hub it tells the sessions.
async fn clock(shared: Arc<Shared>) {
    loop {
        let next = locked(&shared.registry).next_look();
        let due = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.closing.cancelled() => break,
            () = shared.earlier.notified() => {}
            () = due => {
                let expired = locked(&shared.registry).expired(Instant::now(), shared.cfg.idle_ttl);
                for outbox in expired {
                    outbox.push_expired();
                }
            }
        }
    }
    let registry = std::mem::take(&mut *locked(&shared.registry));
    for outbox in registry.sessions() {
        outbox.close();
    }
}

impl Shared {
    /// Changes the registry, and wakes the clock if it would sleep for too long now.
    fn watched(&self, change: impl FnOnce(&mut Registry, Instant)) {
        let mut registry = locked(&self.registry);
        let before = registry.next_look();
        change(&mut registry, Instant::now());
        let after = registry.next_look();
        drop(registry);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.earlier.notify_one();
        }
    }

    pub(crate) fn disconnect(&self, outbox: &Arc<Outbox>) {
        locked(&self.registry).disconnect(outbox);
    }

    pub(crate) fn calibration(&self, d: &DeviceId) -> Arc<Calibration> {
        self.calibrations
            .get_with_by_ref(d, || Arc::new(self.calibrator.calibrate(d)))
    }

    /// Keeps a copy: a slice would keep the batch.
    pub(crate) fn keep_header(&self, d: &DeviceId, header: &[u8]) {
        let header = Bytes::copy_from_slice(header);
        locked(&self.headers).insert(d.clone(), header);
    }

    pub(crate) fn keep_alarms(&self, site: String, open: Vec<Reading>) {
        let mut alarms = locked(&self.alarms);
        if open.is_empty() {
            alarms.remove(&site);
            trim(&mut alarms);
        } else {
            alarms.insert(site, open.into_boxed_slice());
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
