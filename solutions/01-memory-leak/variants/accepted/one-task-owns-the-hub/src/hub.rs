use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use moka::sync::Cache;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::api::{Event, HubConfig, HubError, HubSnapshot, IngestReport, Reading};
use crate::device::{Calibration, Calibrator, DeviceId};
use crate::ingest;
use crate::session::Session;

/// Calibrations that are kept ready: more than any region has devices.
const CALIBRATIONS_MAX: u64 = 4096;

/// Connects devices with whoever publishes to them. Lives inside a tokio runtime.
pub struct Hub {
    outbox: usize,
    connects: AtomicU64,
    gauges: Arc<Gauges>,
    shelf: Arc<Shelf>,
    orders: mpsc::UnboundedSender<Order>,
    owner: JoinHandle<()>,
}

#[derive(Default)]
pub(crate) struct Gauges {
    pub(crate) sessions: AtomicUsize,
    pub(crate) timers: AtomicUsize,
    pub(crate) queued: AtomicUsize,
}

/// What batches leave.
pub(crate) struct Shelf {
    pub(crate) headers: Mutex<HashMap<DeviceId, Box<[u8]>>>,
    pub(crate) alarms: Mutex<HashMap<String, Box<[Reading]>>>,
    calibrator: Calibrator,
    calibrations: Cache<DeviceId, Arc<Calibration>>,
}

pub(crate) enum Order {
    Join(u64, DeviceId, mpsc::Sender<Event>),
    Leave(u64),
    Touch(DeviceId),
    Publish(String, Event, oneshot::Sender<usize>),
    Ingest(Bytes, oneshot::Sender<Result<IngestReport, HubError>>),
    End,
}

impl Hub {
    pub fn new(cfg: HubConfig) -> Hub {
        let (orders, inbox) = mpsc::unbounded_channel();
        let gauges = Arc::new(Gauges::default());
        let shelf = Arc::new(Shelf {
            headers: Mutex::default(),
            alarms: Mutex::default(),
            calibrator: Calibrator::default(),
            calibrations: Cache::new(CALIBRATIONS_MAX),
        });
        let outbox = cfg.outbox;
        let owner = Owner {
            cfg,
            gauges: gauges.clone(),
            shelf: shelf.clone(),
            sessions: HashMap::new(),
            sites: HashMap::new(),
            devices: HashMap::new(),
            deadlines: BTreeSet::new(),
            jobs: JoinSet::new(),
        };
        Hub {
            outbox,
            connects: AtomicU64::new(0),
            gauges,
            shelf,
            orders,
            owner: tokio::spawn(owner.run(inbox)),
        }
    }

    pub async fn connect(&self, d: DeviceId) -> Session {
        let (outlet, unread) = mpsc::channel(self.outbox);
        let id = self.connects.fetch_add(1, Ordering::Relaxed);
        self.gauges.sessions.fetch_add(1, Ordering::Relaxed);
        self.orders.send(Order::Join(id, d, outlet)).ok();
        Session {
            id,
            unread,
            orders: self.orders.clone(),
            gauges: self.gauges.clone(),
        }
    }

    pub fn touch(&self, d: &DeviceId) {
        self.orders.send(Order::Touch(d.clone())).ok();
    }

    pub async fn ingest(&self, batch: Bytes) -> Result<IngestReport, HubError> {
        let (reply, report) = oneshot::channel();
        self.orders.send(Order::Ingest(batch, reply)).ok();
        report.await.unwrap_or(Ok(IngestReport {
            panicked: 1,
            ..IngestReport::default()
        }))
    }

    pub fn last_header(&self, d: &DeviceId) -> Option<Bytes> {
        let headers = self.shelf.headers.lock().unwrap();
        headers.get(d).map(|header| Bytes::copy_from_slice(header))
    }

    pub fn alarms(&self, site: &str) -> Vec<Reading> {
        let alarms = self.shelf.alarms.lock().unwrap();
        alarms.get(site).map(|open| open.to_vec()).unwrap_or_default()
    }

    pub fn calibration(&self, d: &DeviceId) -> Arc<Calibration> {
        self.shelf.calibration(d)
    }

    pub async fn publish(&self, topic: &str, e: Event) -> usize {
        let (reply, reached) = oneshot::channel();
        self.orders.send(Order::Publish(topic.to_owned(), e, reply)).ok();
        reached.await.unwrap_or(0)
    }

    pub fn snapshot(&self) -> HubSnapshot {
        HubSnapshot {
            sessions: self.gauges.sessions.load(Ordering::Relaxed),
            timers: self.gauges.timers.load(Ordering::Relaxed),
            queued: self.gauges.queued.load(Ordering::Relaxed),
            calibrations: self.shelf.calibrator.runs(),
        }
    }

    pub async fn shutdown(self) {
        self.orders.send(Order::End).ok();
        self.owner.await.ok();
    }
}

impl Shelf {
    pub(crate) fn calibration(&self, d: &DeviceId) -> Arc<Calibration> {
        self.calibrations
            .get_with_by_ref(d, || Arc::new(self.calibrator.calibrate(d)))
    }
}

struct Owner {
    cfg: HubConfig,
    gauges: Arc<Gauges>,
    shelf: Arc<Shelf>,
    sessions: HashMap<u64, (DeviceId, mpsc::Sender<Event>)>,
    sites: HashMap<String, BTreeSet<u64>>,
    devices: HashMap<DeviceId, Connected>,
    deadlines: BTreeSet<(Instant, DeviceId)>,
    jobs: JoinSet<()>,
}

#[derive(Default)]
struct Connected {
    sessions: BTreeSet<u64>,
    due: Option<Instant>,
}

impl Owner {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Order>) {
        loop {
            let next = self.deadlines.first().map(|(due, _)| *due);
            tokio::select! {
                biased;
                order = inbox.recv() => match order {
                    None | Some(Order::End) => break,
                    Some(order) => self.obey(order),
                },
                Some(_) = self.jobs.join_next() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => self.expire(),
            }
            self.gauges.timers.store(self.deadlines.len(), Ordering::Relaxed);
        }
        while self.jobs.join_next().await.is_some() {}
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Join(id, d, outlet) => {
                self.sites.entry(d.site().to_owned()).or_default().insert(id);
                self.devices.entry(d.clone()).or_default().sessions.insert(id);
                self.sessions.insert(id, (d.clone(), outlet));
                self.touch(&d);
            }
            Order::Leave(id) => self.leave(id),
            Order::Touch(d) => self.touch(&d),
            Order::Publish(site, event, reply) => {
                let ids: Vec<u64> = self.sites.get(&site).into_iter().flatten().copied().collect();
                let reached = ids.into_iter().filter(|id| self.tell(*id, &event)).count();
                reply.send(reached).ok();
            }
            Order::Ingest(batch, reply) => {
                let shelf = self.shelf.clone();
                self.jobs.spawn(async move {
                    reply.send(ingest::run(&shelf, &batch)).ok();
                });
            }
            Order::End => {}
        }
    }

    fn touch(&mut self, d: &DeviceId) {
        let Some(device) = self.devices.get_mut(d) else {
            return;
        };
        let due = Instant::now() + self.cfg.idle_ttl;
        if let Some(old) = device.due.replace(due) {
            self.deadlines.remove(&(old, d.clone()));
        }
        self.deadlines.insert((due, d.clone()));
    }

    fn leave(&mut self, id: u64) {
        let Some((d, _)) = self.sessions.remove(&id) else {
            return;
        };
        if let Some(site) = self.sites.get_mut(d.site()) {
            site.remove(&id);
            if site.is_empty() {
                self.sites.remove(d.site());
            }
        }
        let Some(device) = self.devices.get_mut(&d) else {
            return;
        };
        device.sessions.remove(&id);
        if device.sessions.is_empty() {
            if let Some(due) = device.due {
                self.deadlines.remove(&(due, d.clone()));
            }
            self.devices.remove(&d);
        }
    }

    /// A reader that is behind by more than its outbox is disconnected.
    fn tell(&mut self, id: u64, event: &Event) -> bool {
        let Some((_, outlet)) = self.sessions.get(&id) else {
            return false;
        };
        match outlet.try_send(event.clone()) {
            Ok(()) => {
                self.gauges.queued.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => self.leave(id),
        }
        false
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some((due, d)) = self.deadlines.first().cloned() {
            if due > now {
                return;
            }
            self.deadlines.pop_first();
            let Some(device) = self.devices.get_mut(&d) else {
                continue;
            };
            device.due = None;
            for id in device.sessions.clone() {
                self.tell(id, &Event::Expired);
            }
        }
    }
}
