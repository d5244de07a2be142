use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use moka::sync::Cache;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api::{Event, HubConfig, HubError, HubSnapshot, IngestReport, Reading};
use crate::device::{Calibration, Calibrator, DeviceId, HEADER_BYTES_MAX};
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
    pub(crate) devices: DashMap<DeviceId, Device>,
    /// Open alarms by site.
    pub(crate) alarms: DashMap<String, Vec<Reading>>,
    calibrator: Calibrator,
    calibrations: Cache<DeviceId, Arc<Calibration>>,
    pub(crate) sessions: AtomicUsize,
    pub(crate) closing: CancellationToken,
}

#[derive(Default)]
pub(crate) struct Device {
    /// The sessions' own windows: one that has gone cannot be reached any more.
    outlets: Vec<Weak<Window>>,
    /// When the device will have gone quiet; `None` once it was told.
    due: Option<Instant>,
    /// Wakes a timer that had nothing left to wait for.
    beat: Arc<Notify>,
    /// The device's only timer. Ends with the last session.
    timer: Option<DropGuard>,
    pub(crate) header: Option<Header>,
}

/// A session's window, which keeps the latest events for the reader. The session holds it.
pub(crate) type Window = broadcast::Sender<Event>;

#[derive(Clone, Copy)]
pub(crate) struct Header {
    len: u8,
    bytes: [u8; HEADER_BYTES_MAX],
}

impl Header {
    pub(crate) fn new(header: &[u8]) -> Header {
        let mut bytes = [0; HEADER_BYTES_MAX];
        bytes[..header.len()].copy_from_slice(header);
        Header {
            len: header.len() as u8,
            bytes,
        }
    }
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
            closing: CancellationToken::new(),
        };
        Hub {
            shared: Arc::new(shared),
        }
    }

    /// Connects a device, which is a sign of life. A device may be connected more than once.
    pub async fn connect(&self, d: DeviceId) -> Session {
        let (window, unread) = broadcast::channel(self.shared.cfg.outbox);
        let window = Arc::new(window);
        let mut device = self.shared.devices.entry(d.clone()).or_default();
        device.outlets.retain(|outlet| outlet.strong_count() > 0);
        device.outlets.push(Arc::downgrade(&window));
        if device.timer.is_none() {
            let stop = self.shared.closing.child_token();
            tokio::spawn(keep_time(Arc::downgrade(&self.shared), d.clone(), stop.clone()));
            device.timer = Some(stop.drop_guard());
        }
        device.due = Some(Instant::now() + self.shared.cfg.idle_ttl);
        device.beat.notify_one();
        drop(device);
        Session::new(self.shared.clone(), d, window, unread)
    }

    /// A sign of life: the device's idle time starts again.
    pub fn touch(&self, d: &DeviceId) {
        let Some(mut device) = self.shared.devices.get_mut(d) else {
            return;
        };
        device.due = Some(Instant::now() + self.shared.cfg.idle_ttl);
        device.beat.notify_one();
    }

    /// Works through a gateway's batch, off the caller's task: a batch that panics takes nobody with it.
    pub async fn ingest(&self, batch: Bytes) -> Result<IngestReport, HubError> {
        let run = AssertUnwindSafe(|| ingest::run(&self.shared, &batch));
        catch_unwind(run).unwrap_or(Ok(IngestReport {
            panicked: 1,
            ..IngestReport::default()
        }))
    }

    /// The header of the device's last record that had one.
    pub fn last_header(&self, d: &DeviceId) -> Option<Bytes> {
        let header = self.shared.devices.get(d)?.header?;
        Some(Bytes::copy_from_slice(&header.bytes[..header.len.into()]))
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
        let outlets: Vec<Weak<Window>> = devices
            .filter(|device| device.key().site() == topic)
            .flat_map(|device| device.outlets.clone())
            .collect();
        let mut reached = 0;
        for outlet in outlets {
            if outlet
                .upgrade()
                .is_some_and(|window| window.send(e.clone()).is_ok())
            {
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
            let windows = device.outlets.iter().filter_map(Weak::upgrade);
            snapshot.queued += windows.map(|window| window.len()).sum::<usize>();
        }
        snapshot
    }

    /// Ends the hub: batches are finished, sessions read what was published before, then `None`.
    pub async fn shutdown(self) {
        self.shared.closing.cancel();
        self.shared.devices.clear();
    }
}

impl Shared {
    pub(crate) fn calibration(&self, d: &DeviceId) -> Arc<Calibration> {
        self.calibrations
            .get_with_by_ref(d, || Arc::new(self.calibrator.calibrate(d)))
    }

    pub(crate) fn leave(&self, d: &DeviceId, window: &Arc<Window>) {
        if let Some(mut device) = self.devices.get_mut(d) {
            device
                .outlets
                .retain(|outlet| !std::ptr::eq(outlet.as_ptr(), Arc::as_ptr(window)));
            if device.outlets.is_empty() {
                device.timer = None;
                device.due = None;
            }
        }
    }
}

/// Waits for one device to go quiet, again and again, while it is connected.
async fn keep_time(shared: Weak<Shared>, d: DeviceId, stop: CancellationToken) {
    loop {
        let (due, beat) = {
            let Some(shared) = shared.upgrade() else { return };
            let Some(mut device) = shared.devices.get_mut(&d) else {
                return;
            };
            if device.due.take_if(|due| *due <= Instant::now()).is_some() {
                for outlet in &device.outlets {
                    outlet
                        .upgrade()
                        .and_then(|window| window.send(Event::Expired).ok());
                }
            }
            (device.due, device.beat.clone())
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
            () = beat.notified(), if due.is_none() => {}
        }
    }
}
