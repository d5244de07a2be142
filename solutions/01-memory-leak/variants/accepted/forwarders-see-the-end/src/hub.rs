use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dashmap::DashMap;
use moka::sync::Cache;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::api::{Event, HubConfig, HubError, HubSnapshot, IngestReport, Reading};
use crate::device::{Calibration, Calibrator, DeviceId};
use crate::ingest;
use crate::session::Session;

/// Calibrations that are kept ready: more than any region has devices.
const CALIBRATIONS_MAX: u64 = 4096;

/// Connects devices with whoever publishes to them. Lives inside a tokio runtime.
pub struct Hub {
    shared: Arc<Shared>,
    /// Batches being worked through; shutdown waits for them, even if their callers have gone.
    jobs: Mutex<JoinSet<()>>,
}

pub(crate) struct Shared {
    cfg: HubConfig,
    pub(crate) devices: DashMap<DeviceId, Device>,
    /// Open alarms by site.
    pub(crate) alarms: DashMap<String, Vec<Reading>>,
    calibrator: Calibrator,
    calibrations: Cache<DeviceId, Arc<Calibration>>,
    pub(crate) sessions: AtomicUsize,
    timers: AtomicUsize,
    closing: CancellationToken,
}

#[derive(Default)]
pub(crate) struct Device {
    outlets: Vec<Outlet>,
    /// When the idle time is over, and whether there is a task that waits for it.
    due: Option<Instant>,
    waited_for: bool,
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
            devices: DashMap::new(),
            alarms: DashMap::new(),
            calibrator: Calibrator::default(),
            calibrations: Cache::new(CALIBRATIONS_MAX),
            sessions: AtomicUsize::new(0),
            timers: AtomicUsize::new(0),
            closing: CancellationToken::new(),
        };
        Hub {
            shared: Arc::new(shared),
            jobs: Mutex::new(JoinSet::new()),
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
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    event = inbox.recv() => match event {
                        Some(event) => drop(window.send(event)),
                        None => return,
                    },
                    () = window.closed() => return,
                }
            }
        });
        let devices = &self.shared.devices;
        devices.entry(d.clone()).or_default().outlets.push(outlet);
        self.touch(&d);
        Session::new(self.shared.clone(), unread)
    }

    /// A sign of life: the device's idle time starts again.
    pub fn touch(&self, d: &DeviceId) {
        let Some(mut device) = self.shared.devices.get_mut(d) else {
            return;
        };
        if !device.connected() {
            return;
        }
        device.due = Some(Instant::now() + self.shared.cfg.idle_ttl);
        if std::mem::replace(&mut device.waited_for, true) {
            return;
        }
        let (shared, d) = (self.shared.clone(), d.clone());
        tokio::spawn(async move {
            shared.timers.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                () = shared.closing.cancelled() => {}
                () = shared.expire(&d) => {}
            }
            shared.timers.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Works through a gateway's batch, off the caller's task: a batch that panics takes nobody with it.
    pub async fn ingest(&self, batch: Bytes) -> Result<IngestReport, HubError> {
        let shared = self.shared.clone();
        let (reply, report) = oneshot::channel();
        {
            let mut jobs = self.jobs.lock().unwrap();
            while jobs.try_join_next().is_some() {}
            jobs.spawn(async move {
                reply.send(ingest::run(&shared, &batch)).ok();
            });
        }
        report.await.unwrap_or(Ok(IngestReport {
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
        let mut outlets = Vec::new();
        for mut device in self.shared.devices.iter_mut() {
            if device.key().site() == topic {
                device.outlets.retain(|outlet| outlet.window.receiver_count() > 0);
                outlets.extend(device.outlets.iter().cloned());
            }
        }
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
            timers: self.shared.timers.load(Ordering::Relaxed),
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
        let mut jobs = self.jobs.into_inner().unwrap();
        while jobs.join_next().await.is_some() {}
        self.shared.closing.cancel();
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

    /// Waits until the device's deadline has come, wherever it has moved by then.
    async fn expire(&self, d: &DeviceId) {
        loop {
            let due = match self.devices.get_mut(d) {
                Some(mut device) => match device.due {
                    Some(due) if due > Instant::now() && device.connected() => due,
                    due => {
                        device.waited_for = false;
                        device.due = None;
                        if due.is_some() {
                            for outlet in &device.outlets {
                                outlet.window.send(Event::Expired).ok();
                            }
                        }
                        return;
                    }
                },
                None => return,
            };
            sleep_until(due).await;
        }
    }
}

impl Device {
    fn connected(&self) -> bool {
        self.outlets
            .iter()
            .any(|outlet| outlet.window.receiver_count() > 0)
    }
}
