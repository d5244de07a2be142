use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use moka::sync::Cache;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::StreamExt;
use tokio_util::task::TaskTracker;
use tokio_util::time::DelayQueue;

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
    touches: mpsc::UnboundedSender<(DeviceId, u64)>,
}

pub(crate) struct Shared {
    cfg: HubConfig,
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
    /// Counts the signs of life.
    beat: u64,
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
        let shared = Arc::new(shared);
        let (touches, inbox) = mpsc::unbounded_channel();
        tokio::spawn(keep_timers(Arc::downgrade(&shared), inbox, shared.cfg.idle_ttl));
        Hub {
            shared,
            jobs: TaskTracker::new(),
            touches,
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
        device.beat += 1;
        let beat = device.beat;
        self.touches.send((d.clone(), beat)).ok();
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
        }
    }

    fn expire(&self, d: &DeviceId, beat: u64) {
        if let Some(device) = self.devices.get(d)
            && device.beat == beat
        {
            for outlet in &device.outlets {
                outlet.window.send(Event::Expired).ok();
            }
        }
    }
}

/// One task keeps all timers.
async fn keep_timers(
    shared: Weak<Shared>,
    mut touches: mpsc::UnboundedReceiver<(DeviceId, u64)>,
    idle_ttl: Duration,
) {
    let mut timers = DelayQueue::new();
    loop {
        tokio::select! {
            touch = touches.recv() => match touch {
                Some(touch) => drop(timers.insert(touch, idle_ttl)),
                None => return,
            },
            Some(expired) = timers.next(), if !timers.is_empty() => {
                let (d, beat) = expired.into_inner();
                match shared.upgrade() {
                    Some(shared) => shared.expire(&d, beat),
                    None => return,
                }
            }
        }
    }
}
