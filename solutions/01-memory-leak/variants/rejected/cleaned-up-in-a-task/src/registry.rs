//! Who is connected, and until when they may be quiet.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::device::DeviceId;
use crate::outbox::Outbox;

#[derive(Default)]
pub(crate) struct Registry {
    devices: HashMap<DeviceId, Device>,
    sites: HashMap<Box<str>, Vec<Arc<Outbox>>>,
    /// When to look at a device again: one entry for each that is connected and has not expired.
    looks: BTreeSet<(Instant, DeviceId)>,
}

struct Device {
    seen: Instant,
    /// Its entry in `looks`; it may be earlier than the end of the idle time, never later.
    look: Option<Instant>,
    sessions: Vec<Arc<Outbox>>,
}

impl Registry {
    pub(crate) fn connect(&mut self, outbox: Arc<Outbox>, now: Instant, idle_ttl: Duration) {
        let device = outbox.device.clone();
        match self.sites.get_mut(device.site()) {
            Some(site) => site.push(outbox.clone()),
            None => {
                self.sites.insert(device.site().into(), vec![outbox.clone()]);
            }
        }
        let connected = self.devices.entry(device.clone()).or_insert(Device {
            seen: now,
            look: None,
            sessions: Vec::new(),
        });
        connected.sessions.push(outbox);
        self.touch(&device, now, idle_ttl);
    }

    pub(crate) fn touch(&mut self, device: &DeviceId, now: Instant, idle_ttl: Duration) {
        let Some(connected) = self.devices.get_mut(device) else {
            return;
        };
        connected.seen = now;
        if connected.look.is_none() {
            connected.look = now.checked_add(idle_ttl);
            if let Some(look) = connected.look {
                self.looks.insert((look, device.clone()));
            }
        }
    }

    pub(crate) fn disconnect(&mut self, outbox: &Arc<Outbox>) {
        let device = &outbox.device;
        if let Some(connected) = self.devices.get_mut(device) {
            remove(&mut connected.sessions, outbox);
            if connected.sessions.is_empty() {
                if let Some(look) = connected.look {
                    self.looks.remove(&(look, device.clone()));
                }
                self.devices.remove(device);
                trim(&mut self.devices);
            }
        }
        if let Some(site) = self.sites.get_mut(device.site()) {
            remove(site, outbox);
            if site.is_empty() {
                self.sites.remove(device.site());
                trim(&mut self.sites);
            }
        }
    }

    pub(crate) fn at(&self, site: &str) -> Vec<Arc<Outbox>> {
        self.sites.get(site).cloned().unwrap_or_default()
    }

    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.looks.first().map(|(look, _)| *look)
    }

    /// The sessions of those who have been quiet for too long, once.
    pub(crate) fn expired(&mut self, now: Instant, idle_ttl: Duration) -> Vec<Arc<Outbox>> {
        let mut expired = Vec::new();
        while self.looks.first().is_some_and(|(look, _)| *look <= now) {
            let Some((_, device)) = self.looks.pop_first() else {
                break;
            };
            let Some(connected) = self.devices.get_mut(&device) else {
                continue;
            };
            connected.look = None;
            match connected.seen.checked_add(idle_ttl) {
                Some(end) if end <= now => expired.extend_from_slice(&connected.sessions),
                Some(end) => {
                    connected.look = Some(end);
                    self.looks.insert((end, device));
                }
                None => {}
            }
        }
        expired
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Arc<Outbox>> {
        self.sites.values().flatten()
    }

    pub(crate) fn looks(&self) -> usize {
        self.looks.len()
    }
}

fn remove(sessions: &mut Vec<Arc<Outbox>>, outbox: &Arc<Outbox>) {
    if let Some(at) = sessions.iter().position(|other| Arc::ptr_eq(other, outbox)) {
        sessions.swap_remove(at);
        if sessions.capacity() > 16 && sessions.capacity() / 4 > sessions.len() {
            sessions.shrink_to(sessions.len() * 2);
        }
    }
}

/// Gives back what a map held at its peak.
pub(crate) fn trim<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 16 && map.capacity() / 4 > map.len() {
        map.shrink_to(map.len() * 2);
    }
}
