//! The servers of one run, as checks are given them.

use std::path::Path;
use std::time::Instant;

use verdict::report;
use verdict::wire::PostgresJob;

use crate::catalogue::Scenario;
use crate::errors::Error;
use crate::flags::ServiceMode;
use crate::workbook::Workbook;

/// Servers that are up.
#[derive(Default)]
pub struct Fleet {
    pub told: Vec<report::Service>,
}

impl Fleet {
    /// Has all that `scenarios` need ready.
    pub async fn start(
        _workbook: &Workbook,
        _scenarios: &[Scenario],
        _mode: ServiceMode,
        _say: &dyn Fn(&str),
    ) -> Result<Fleet, Error> {
        let _ = (Instant::now(), Path::new(""));
        Ok(Fleet::default())
    }

    /// A database of its own for one check.
    pub fn postgres_job(&self, _scenario: &Scenario) -> Option<PostgresJob> {
        None
    }

    /// Which server has died, as a sentence.
    pub async fn dead(&self) -> Option<String> {
        None
    }

    /// Removes a check's database where the server outlives the run.
    pub async fn drop_database(&self, _database: &str) {}

    /// Ends all of it.
    pub async fn stop(self) {}
}
