use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use moka::sync::Cache;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::api::{Event, HubConfig, HubError, HubSnapshot, IngestReport, Reading};
use crate::device::{Calibration, Calibrator, DeviceId};
use crate::ingest::{self, Outcome};
use crate::session::{Line, Session};

/// Calibrations that are kept ready: more than any region has devices.
const CALIBRATIONS_MAX: u64 = 4096;

/// Devices are not swept more often than this.
const SWEEP_MIN: Duration = Duration::from_millis(250);

/// Connects devices with whoever publishes to them. Lives inside a tokio runtime.
pub struct Hub {
    cfg: HubConfig,
    roster: Arc<Mutex<Roster>>,
    known: Mutex<Known>,
    calibrator: Calibrator,
    calibrations: Cache<DeviceId, Arc<Calibration>>,
    sweeper: Sweeper,
}

/// Who is connected, and was when the sweeper last came by.
#[derive(Default)]
struct Roster {
    devices: HashMap<DeviceId, Device>,
}

struct Device {
    seen: Instant,
    expired: bool,
    lines: Vec<Weak<Line>>,
}

/// What batches have left.
#[derive(Default)]
struct Known {
    headers: HashMap<DeviceId, Bytes>,
    alarms: HashMap<String, Vec<Reading>>,
}

/// The hub's only task. It goes with the hub.
struct Sweeper(JoinHandle<()>);

impl Hub {
    pub fn new(cfg: HubConfig) -> Hub {
        let roster = Arc::<Mutex<Roster>>::default();
        // Twice in the time that an expiry may be late, but never so often that sweeping is all it does.
        let every = (cfg.sweep / 2).max(SWEEP_MIN);
        let sweeper = tokio::spawn(sweep(Arc::downgrade(&roster), every, cfg.idle_ttl));
        Hub {
            cfg,
            roster,
            known: Mutex::default(),
            calibrator: Calibrator::default(),
            calibrations: Cache::new(CALIBRATIONS_MAX),
            sweeper: Sweeper(sweeper),
        }
    }

    /// Connects a device, which is a sign of life. A device may be connected more than once.
    pub async fn connect(&self, d: DeviceId) -> Session {
        let line = Line::new(self.cfg.outbox);
        let now = Instant::now();
        let mut roster = locked(&self.roster);
        let device = roster.devices.entry(d).or_insert_with(|| Device {
            seen: now,
            expired: false,
            lines: Vec::new(),
        });
        device.lines.retain(alive);
        device.lines.push(Arc::downgrade(&line));
        device.seen = now;
        device.expired = false;
        Session::new(line)
    }

    /// A sign of life: the device's idle time starts again.
    pub fn touch(&self, d: &DeviceId) {
        if let Some(device) = locked(&self.roster).devices.get_mut(d) {
            device.seen = Instant::now();
            device.expired = false;
        }
    }

    /// Works through a gateway's batch: all of it, or nothing if the codec panics.
    pub async fn ingest(&self, batch: Bytes) -> Result<IngestReport, HubError> {
        let worked = catch_unwind(AssertUnwindSafe(|| ingest::run(&batch, |d| self.calibration(d))));
        let Ok(outcome) = worked else {
            return Ok(IngestReport {
                panicked: 1,
                ..IngestReport::default()
            });
        };
        let Outcome {
            site,
            records,
            headers,
            mut alarms,
        } = outcome?;
        let report = IngestReport {
            records,
            alarms: alarms.len(),
            panicked: 0,
        };
        let mut known = locked(&self.known);
        for (device, header) in headers {
            known
                .headers
                .insert(device, Bytes::copy_from_slice(&batch[header]));
        }
        if alarms.is_empty() {
            known.alarms.remove(&site);
        } else {
            alarms.shrink_to_fit();
            known.alarms.insert(site, alarms);
        }
        Ok(report)
    }

    /// The header of the device's last record that had one.
    pub fn last_header(&self, d: &DeviceId) -> Option<Bytes> {
        locked(&self.known).headers.get(d).cloned()
    }

    /// The alarms of the site's last batch, in its order.
    pub fn alarms(&self, site: &str) -> Vec<Reading> {
        locked(&self.known).alarms.get(site).cloned().unwrap_or_default()
    }

    /// The device's response curve.
    pub fn calibration(&self, d: &DeviceId) -> Arc<Calibration> {
        self.calibrations
            .get_with_by_ref(d, || Arc::new(self.calibrator.calibrate(d)))
    }

    /// Tells every session of a site; returns how many live sessions it reached.
    pub async fn publish(&self, topic: &str, e: Event) -> usize {
        let lines = locked(&self.roster).lines(|device| device.site() == topic);
        for line in &lines {
            line.tell(e.clone());
        }
        lines.len()
    }

    pub fn snapshot(&self) -> HubSnapshot {
        let roster = locked(&self.roster);
        let live = roster
            .devices
            .values()
            .filter(|device| device.lines.iter().any(alive));
        let timers = live.filter(|device| !device.expired).count();
        let lines = roster.lines(|_| true);
        drop(roster);
        HubSnapshot {
            sessions: lines.len(),
            timers,
            queued: lines.iter().map(|line| line.unread()).sum(),
            calibrations: self.calibrator.runs(),
        }
    }

    /// Ends the hub: sessions read what was published before, then `None`.
    pub async fn shutdown(mut self) {
        self.sweeper.0.abort();
        (&mut self.sweeper.0).await.ok();
        // Dropping the roster ends the sessions.
    }
}

async fn sweep(roster: Weak<Mutex<Roster>>, every: Duration, idle_ttl: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(roster) = roster.upgrade() else {
            return;
        };
        let expired = locked(&roster).sweep(Instant::now(), idle_ttl);
        for line in expired {
            line.tell(Event::Expired);
        }
    }
}

impl Roster {
    fn lines(&self, of: impl Fn(&DeviceId) -> bool) -> Vec<Arc<Line>> {
        let devices = self.devices.iter().filter(|(device, _)| of(device));
        devices
            .flat_map(|(_, device)| device.lines.iter().filter_map(Weak::upgrade))
            .collect()
    }

    /// Forgets who has gone, and gives the lines of the devices that have expired since the last time.
    fn sweep(&mut self, now: Instant, idle_ttl: Duration) -> Vec<Arc<Line>> {
        let mut expired = Vec::new();
        self.devices.retain(|_, device| {
            device.lines.retain(alive);
            if device.lines.len() * 4 < device.lines.capacity() {
                device.lines.shrink_to_fit();
            }
            if !device.expired && now.duration_since(device.seen) >= idle_ttl {
                device.expired = true;
                expired.extend(device.lines.iter().filter_map(Weak::upgrade));
            }
            !device.lines.is_empty()
        });
        if self.devices.len() * 4 < self.devices.capacity() {
            self.devices.shrink_to_fit();
        }
        expired
    }
}

impl Drop for Roster {
    fn drop(&mut self) {
        for line in self.lines(|_| true) {
            line.end();
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn alive(line: &Weak<Line>) -> bool {
    line.strong_count() > 0
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
