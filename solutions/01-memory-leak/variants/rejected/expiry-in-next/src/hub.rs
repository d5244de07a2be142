use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use bytes::Bytes;
use dashmap::DashMap;
use moka::sync::Cache;
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::api::{Event, HubConfig, HubError, HubSnapshot, IngestReport, Reading};
use crate::device::{Calibration, Calibrator, DeviceId};
use crate::ingest;
use crate::session::Session;

/// Calibrations that are kept ready: more than any region has devices.
const CALIBRATIONS_MAX: u64 = 4096;

/// Connects devices with whoever publishes to them. Lives inside a tokio runtime.
pub struct Hub {
    shared: Arc<Shared>,
    /// Batches being worked through; shutdown waits for them, even if their callers have gone. The tracker only counts
    /// them. A `JoinSet` would keep each one that is done until somebody joins it.
    jobs: TaskTracker,
}

pub(crate) struct Shared {
    pub(crate) cfg: HubConfig,
    pub(crate) devices: DashMap<DeviceId, Device>,
    /// Open alarms by site.
    pub(crate) alarms: DashMap<String, Vec<Reading>>,
    calibrator: Calibrator,
    calibrations: Cache<DeviceId, Arc<Calibration>>,
    pub(crate) sessions: AtomicUsize,
    connects: AtomicUsize,
}

#[derive(Default)]
pub(crate) struct Device {
    /// One per live session: `connect` puts it in, dropping the session takes it out.
    outlets: Vec<Outlet>,
    /// When the device will have gone quiet; `None` while nobody is connected. The next sign of
    /// life overwrites it, so a device costs one deadline however often it is heard of.
    due: Option<Instant>,
    /// A copy of 64 bytes at most; a slice would keep the whole batch.
    pub(crate) header: Option<Bytes>,
}

/// Where a session's events go in: its window, which keeps the latest events for the reader. Sending never waits.
#[derive(Clone)]
struct Outlet {
    session: usize,
    window: broadcast::Sender<Event>,
}

impl Hub {
    pub fn new(cfg: HubConfig) -> Hub {
        let shared = Shared {
            cfg,
            devices: DashMap::new(),
            alarms: DashMap::new(),
            calibrator: Calibrator::default(),
            calibrations: Cache::new(CALIBRATIONS_MAX),
            sessions: AtomicUsize::new(0),
            connects: AtomicUsize::new(0),
        };
        Hub {
            shared: Arc::new(shared),
            jobs: TaskTracker::new(),
        }
    }

    /// Connects a device, which is a sign of life. A device may be connected more than once.
    pub async fn connect(&self, d: DeviceId) -> Session {
        let (window, unread) = broadcast::channel(self.shared.cfg.outbox);
        let session = self.shared.connects.fetch_add(1, Ordering::Relaxed);
        let outlet = Outlet { session, window };
        let devices = &self.shared.devices;
        devices.entry(d.clone()).or_default().outlets.push(outlet);
        self.touch(&d);
        Session::new(self.shared.clone(), d, session, unread)
    }

    /// A sign of life: the device's idle time starts again.
    pub fn touch(&self, d: &DeviceId) {
        let Some(mut device) = self.shared.devices.get_mut(d) else {
            return;
        };
        if !device.outlets.is_empty() {
            device.due = Some(Instant::now() + self.shared.cfg.idle_ttl);
        }
    }

    /// Works through a gateway's batch, off the caller's task: a batch that panics takes nobody with it.
    pub async fn ingest(&self, batch: Bytes) -> Result<IngestReport, HubError> {
        let shared = self.shared.clone();
        let job = self.jobs.spawn(async move { ingest::run(&shared, &batch) });
        job.await.unwrap_or(Ok(IngestReport {
            panicked: 1,
            ..IngestReport::default()
        }))
    }

    /// The header of the device's last record that had one.
    pub fn last_header(&self, d: &DeviceId) -> Option<Bytes> {
        self.shared.devices.get(d)?.header.clone()
    }

    /// The alarms of the site's last batch, in its order.
    pub fn alarms(&self, site: &str) -> Vec<Reading> {
        let open = self.shared.alarms.get(site);
        open.map(|open| open.clone()).unwrap_or_default()
    }

    /// The device's response curve.
    pub fn calibration(&self, d: &DeviceId) -> Arc<Calibration> {
        self.shared.calibration(d)
    }

    /// Tells every session of a site; returns how many live sessions it reached.
    pub async fn publish(&self, topic: &str, e: Event) -> usize {
        let devices = self.shared.devices.iter();
        let outlets: Vec<Outlet> = devices
            .filter(|device| device.key().site() == topic)
            .flat_map(|device| device.outlets.clone())
            .collect();
        let mut reached = 0;
        for outlet in outlets {
            if outlet.window.send(e.clone()).is_ok() {
                reached += 1;
            }
        }
        reached
    }

    pub fn snapshot(&self) -> HubSnapshot {
        let mut snapshot = HubSnapshot {
            sessions: self.shared.sessions.load(Ordering::Relaxed),
            timers: 0,
            queued: 0,
            calibrations: self.shared.calibrator.runs(),
        };
        for device in self.shared.devices.iter() {
            snapshot.timers += usize::from(device.due.is_some());
            snapshot.queued += device.outlets.iter().map(|o| o.window.len()).sum::<usize>();
        }
        snapshot
    }

    /// Ends the hub: batches are finished, sessions read what was published before, then `None`.
    pub async fn shutdown(self) {
        self.jobs.close();
        self.jobs.wait().await;
        for mut device in self.shared.devices.iter_mut() {
            device.outlets.clear();
        }
    }
}

impl Shared {
    pub(crate) fn calibration(&self, d: &DeviceId) -> Arc<Calibration> {
        self.calibrations
            .get_with_by_ref(d, || Arc::new(self.calibrator.calibrate(d)))
    }

    /// Takes a session's outlet out; the last one takes the device's deadline with it.
    pub(crate) fn leave(&self, d: &DeviceId, session: usize) {
        if let Some(mut device) = self.devices.get_mut(d) {
            device.outlets.retain(|outlet| outlet.session != session);
            if device.outlets.is_empty() {
                device.due = None;
            }
        }
    }

    /// When the device will have gone quiet, as far as is known now.
    pub(crate) fn due(&self, d: &DeviceId) -> Option<Instant> {
        self.devices.get(d)?.due
    }
}
