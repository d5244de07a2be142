use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use moka::sync::Cache;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::api::{Event, HubConfig, HubError, HubSnapshot, IngestReport, Reading};
use crate::device::{Calibration, Calibrator, DeviceId};
use crate::ingest;
use crate::session::Session;

/// Calibrations that are kept ready: more than any region has devices.
const CALIBRATIONS_MAX: u64 = 4096;

/// Connects devices with whoever publishes to them. Lives inside a tokio runtime.
pub struct Hub {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    cfg: HubConfig,
    started: Instant,
    pub(crate) devices: DashMap<DeviceId, Device>,
    /// Open alarms by site.
    pub(crate) alarms: DashMap<String, Vec<Reading>>,
    calibrator: Calibrator,
    calibrations: Cache<DeviceId, Arc<Calibration>>,
    pub(crate) sessions: AtomicUsize,
    tasks: TaskTracker,
    closing: CancellationToken,
}

#[derive(Default)]
pub(crate) struct Device {
    outlets: Vec<Outlet>,
    /// The next sign of life replaces it, which aborts it.
    timer: Option<AbortOnDropHandle<()>>,
    pub(crate) header: Option<Bytes>,
}

/// Where a session's events go in: a channel that takes bursts, and behind it the session's window, which keeps the
/// latest events for the reader.
#[derive(Clone)]
struct Outlet {
    events: mpsc::Sender<Event>,
    window: broadcast::Sender<Event>,
}

impl Hub {
    pub fn new(cfg: HubConfig) -> Hub {
        let shared = Shared {
            cfg,
            started: Instant::now(),
            devices: DashMap::new(),
            alarms: DashMap::new(),
            calibrator: Calibrator::default(),
            calibrations: Cache::new(CALIBRATIONS_MAX),
            sessions: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        };
        Hub {
            shared: Arc::new(shared),
        }
    }

    /// Connects a device, which is a sign of life. A device may be connected more than once.
    pub async fn connect(&self, d: DeviceId) -> Session {
        let (events, mut inbox) = mpsc::channel(self.shared.cfg.outbox);
        let (window, unread) = broadcast::channel(self.shared.cfg.outbox);
        let outlet = Outlet {
            events,
            window: window.clone(),
        };
        let forwarder = self.shared.tasks.spawn(async move {
            while let Some(event) = inbox.recv().await {
                window.send(event).ok();
            }
        });
        let devices = &self.shared.devices;
        devices.entry(d.clone()).or_default().outlets.push(outlet);
        self.touch(&d);
        Session::new(self.shared.clone(), unread, AbortOnDropHandle::new(forwarder))
    }

    /// A sign of life: the device's idle time starts again.
    pub fn touch(&self, d: &DeviceId) {
        let Some(mut device) = self.shared.devices.get_mut(d) else {
            return;
        };
        let (shared, d) = (self.shared.clone(), d.clone());
        let due = shared.due();
        let timer = tokio::spawn(async move {
            tokio::select! {
                () = shared.closing.cancelled() => {}
                () = sleep_until(due) => shared.expire(&d).await,
            }
        });
        device.timer = Some(AbortOnDropHandle::new(timer));
    }

    /// Works through a gateway's batch, off the caller's task: a batch that panics takes nobody with it.
    pub async fn ingest(&self, batch: Bytes) -> Result<IngestReport, HubError> {
        let shared = self.shared.clone();
        let job = self
            .shared
            .tasks
            .spawn(async move { ingest::run(&shared, &batch) });
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
        let devices = self.shared.devices.iter_mut();
        let outlets: Vec<Outlet> = devices
            .filter(|device| device.key().site() == topic)
            .flat_map(|mut device| {
                device.outlets.retain(|outlet| !outlet.events.is_closed());
                device.outlets.clone()
            })
            .collect();
        let mut reached = 0;
        for outlet in outlets {
            if outlet.events.send(e.clone()).await.is_ok() {
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
            snapshot.timers += usize::from(device.timer.is_some());
            snapshot.queued += device.outlets.iter().map(|o| o.window.len()).sum::<usize>();
        }
        snapshot
    }

    /// Ends the hub: batches are finished, sessions read what was published before, then `None`.
    pub async fn shutdown(self) {
        self.shared.closing.cancel();
        for mut device in self.shared.devices.iter_mut() {
            device.outlets.clear();
            device.timer = None;
        }
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    pub(crate) fn calibration(&self, d: &DeviceId) -> Arc<Calibration> {
        self.calibrations
            .get_with_by_ref(d, || Arc::new(self.calibrator.calibrate(d)))
    }

    /// When a device that shows a sign of life now has gone quiet. Falls on a multiple of `sweep`, so that a site
    /// that went dark expires in one go.
    fn due(&self) -> Instant {
        let idle = self.started.elapsed() + self.cfg.idle_ttl;
        let sweep = self.cfg.sweep.as_nanos().max(1);
        let due = idle.as_nanos().div_ceil(sweep) * sweep;
        self.started + Duration::from_nanos(due as u64)
    }

    async fn expire(&self, d: &DeviceId) {
        let outlets = match self.devices.get(d) {
            Some(device) => device.outlets.clone(),
            None => return,
        };
        for outlet in outlets {
            outlet.events.send(Event::Expired).await.ok();
        }
    }
}
