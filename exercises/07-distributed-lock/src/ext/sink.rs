//! The archive: where reports go, and who is sent them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::NaiveDate;

/// Takes the reports and sends them to everybody. A report of a day is refused when one with a larger `fence` was taken
/// before; otherwise it is taken, and sent.
#[async_trait]
pub trait ReportSink: Send + Sync {
    async fn publish(&self, day: NaiveDate, fence: u64, body: &[u8]) -> Result<(), SinkError>;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    #[error("a report with fence {highest} was taken before")]
    Stale { highest: u64 },
    #[error("{0}")]
    Unavailable(String),
}

/// An archive in memory.
#[derive(Debug, Default)]
pub struct Shelf(Mutex<Reports>);

/// The reports that were taken for each day, in order, and their fences.
type Reports = BTreeMap<NaiveDate, Vec<(u64, Vec<u8>)>>;

impl Shelf {
    /// The reports that were taken for a day, in order.
    pub fn reports(&self, day: NaiveDate) -> Vec<(u64, Vec<u8>)> {
        self.lock().get(&day).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Reports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ReportSink for Shelf {
    async fn publish(&self, day: NaiveDate, fence: u64, body: &[u8]) -> Result<(), SinkError> {
        let mut reports = self.lock();
        let reports = reports.entry(day).or_default();
        let highest = reports.iter().map(|(fence, _)| *fence).max();
        if let Some(highest) = highest.filter(|highest| *highest > fence) {
            return Err(SinkError::Stale { highest });
        }
        reports.push((fence, body.to_vec()));
        Ok(())
    }
}
