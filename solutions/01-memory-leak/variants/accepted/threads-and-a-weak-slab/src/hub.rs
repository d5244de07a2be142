use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use moka::sync::Cache;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{Event, HubConfig, HubError, HubSnapshot, IngestReport, Reading};
use crate::device::{Calibration, Calibrator, DeviceId};
use crate::ingest;
use crate::session::{Outbox, Session};

/// Calibrations that are kept ready: more than any region has devices.
const CALIBRATIONS_MAX: u64 = 4096;

/// Connects devices with whoever publishes to them. Lives inside a tokio runtime.
pub struct Hub {
    shared: Arc<Shared>,
    tracker: TaskTracker,
}

pub(crate) struct Shared {
    cfg: HubConfig,
    pub(crate) registry: Mutex<Registry>,
    pub(crate) headers: Mutex<HashMap<DeviceId, ([u8; 64], u8)>>,
    pub(crate) alarms: Mutex<HashMap<String, Vec<Reading>>>,
    calibrator: Calibrator,
    calibrations: Cache<DeviceId, Arc<Calibration>>,
    pub(crate) sessions: AtomicUsize,
    closing: CancellationToken,
}

/// Slots of sessions that have gone are used again.
#[derive(Default)]
pub(crate) struct Registry {
    slots: Vec<Option<Entry>>,
    free: Vec<usize>,
}

struct Entry {
    device: DeviceId,
    outbox: Weak<Outbox>,
    due: Option<Instant>,
}

impl Registry {
    fn put(&mut self, entry: Entry) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(entry);
        slot
    }

    pub(crate) fn free(&mut self, slot: usize) {
        if let Some(entry) = self.slots.get_mut(slot)
            && entry.take().is_some()
        {
            self.free.push(slot);
        }
    }

    fn live(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.slots.iter_mut().flatten()
    }
}

impl Hub {
    pub fn new(cfg: HubConfig) -> Hub {
        let shared = Arc::new(Shared {
            cfg,
            registry: Mutex::default(),
            headers: Mutex::default(),
            alarms: Mutex::default(),
            calibrator: Calibrator::default(),
            calibrations: Cache::new(CALIBRATIONS_MAX),
            sessions: AtomicUsize::new(0),
            closing: CancellationToken::new(),
        });
        let tracker = TaskTracker::new();
        tracker.spawn(sweep(
            Arc::downgrade(&shared),
            shared.closing.clone(),
            shared.cfg.sweep,
        ));
        Hub { shared, tracker }
    }

    pub async fn connect(&self, d: DeviceId) -> Session {
        let outbox = Arc::new(Outbox::default());
        let entry = Entry {
            device: d.clone(),
            outbox: Arc::downgrade(&outbox),
            due: None,
        };
        let slot = self.shared.registry.lock().unwrap().put(entry);
        self.touch(&d);
        Session::new(self.shared.clone(), slot, outbox)
    }

    pub fn touch(&self, d: &DeviceId) {
        let due = Instant::now() + self.shared.cfg.idle_ttl;
        for entry in self.shared.registry.lock().unwrap().live() {
            if entry.device == *d {
                entry.due = Some(due);
            }
        }
    }

    pub async fn ingest(&self, batch: Bytes) -> Result<IngestReport, HubError> {
        let (reply, report) = oneshot::channel();
        let (shared, token) = (self.shared.clone(), self.tracker.token());
        std::thread::spawn(move || {
            let report = ingest::run(&shared, &batch);
            drop((batch, shared, token));
            reply.send(report).ok();
        });
        report.await.unwrap_or(Ok(IngestReport {
            panicked: 1,
            ..IngestReport::default()
        }))
    }

    pub fn last_header(&self, d: &DeviceId) -> Option<Bytes> {
        let headers = self.shared.headers.lock().unwrap();
        let (header, len) = headers.get(d)?;
        Some(Bytes::copy_from_slice(&header[..usize::from(*len)]))
    }

    pub fn alarms(&self, site: &str) -> Vec<Reading> {
        let alarms = self.shared.alarms.lock().unwrap();
        alarms.get(site).cloned().unwrap_or_default()
    }

    pub fn calibration(&self, d: &DeviceId) -> Arc<Calibration> {
        self.shared.calibration(d)
    }

    pub async fn publish(&self, topic: &str, e: Event) -> usize {
        let mut reached = 0;
        for entry in self.shared.registry.lock().unwrap().live() {
            if entry.device.site() == topic
                && let Some(outbox) = entry.outbox.upgrade()
            {
                outbox.push(&e, self.shared.cfg.outbox);
                reached += 1;
            }
        }
        reached
    }

    pub fn snapshot(&self) -> HubSnapshot {
        let mut registry = self.shared.registry.lock().unwrap();
        HubSnapshot {
            sessions: self.shared.sessions.load(Ordering::Relaxed),
            timers: registry.live().filter(|entry| entry.due.is_some()).count(),
            queued: registry
                .live()
                .filter_map(|entry| Some(entry.outbox.upgrade()?.len()))
                .sum(),
            calibrations: self.shared.calibrator.runs(),
        }
    }

    pub async fn shutdown(self) {
        self.shared.closing.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        for entry in self.shared.registry.lock().unwrap().live() {
            if let Some(outbox) = entry.outbox.upgrade() {
                outbox.close();
            }
        }
    }
}

impl Shared {
    pub(crate) fn calibration(&self, d: &DeviceId) -> Arc<Calibration> {
        self.calibrations
            .get_with_by_ref(d, || Arc::new(self.calibrator.calibrate(d)))
    }

    fn expire(&self, now: Instant) {
        for entry in self.registry.lock().unwrap().live() {
            if entry.due.take_if(|due| *due <= now).is_some()
                && let Some(outbox) = entry.outbox.upgrade()
            {
                outbox.push(&Event::Expired, self.cfg.outbox);
            }
        }
    }
}

async fn sweep(shared: Weak<Shared>, closing: CancellationToken, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while closing.run_until_cancelled(ticks.tick()).await.is_some() {
        match shared.upgrade() {
            Some(shared) => shared.expire(Instant::now()),
            None => return,
        }
    }
}
