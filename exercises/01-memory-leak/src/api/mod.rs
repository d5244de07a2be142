//! What callers are compiled against. Not ours to change.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::device::{DeviceId, Malformed};

#[derive(Clone, Debug)]
pub struct HubConfig {
    /// A device that is not heard of for this long is told [`Event::Expired`], once.
    pub idle_ttl: Duration,
    /// Events that a session may leave unread before it misses some.
    pub outbox: usize,
    /// How late an expiry may be.
    pub sweep: Duration,
}

/// What `/metrics` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubSnapshot {
    /// Connected sessions.
    pub sessions: usize,
    /// Idle timers that are running.
    pub timers: usize,
    /// Events that wait to be read, over all sessions.
    pub queued: usize,
    /// Calibrations worked out since the start.
    pub calibrations: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubError {
    Malformed(Malformed),
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HubError::Malformed(malformed) = self;
        malformed.fmt(f)
    }
}

impl std::error::Error for HubError {}

impl From<Malformed> for HubError {
    fn from(malformed: Malformed) -> HubError {
        HubError::Malformed(malformed)
    }
}

/// What a session is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Message(Bytes),
    /// The reader fell behind: this many events are missing here.
    Lagged(u64),
    /// The device was not heard of for the idle time.
    Expired,
}

/// A calibrated level from which a reading is an alarm.
pub const ALARM_LEVEL: u32 = 1000;

/// What became of one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngestReport {
    /// Records that were read and stored.
    pub records: usize,
    /// Those of them that are alarms.
    pub alarms: usize,
    /// 1 if the batch could not be worked through because the codec panicked on it.
    pub panicked: usize,
}

/// The highest calibrated level in one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub device: DeviceId,
    pub level: u32,
}
