use std::sync::Arc;

use async_trait::async_trait;
use chrono::NaiveDate;

use crate::hold::Hold;

/// Makes the report of a day. Takes minutes as a rule, and hours at the end of a year.
#[async_trait]
pub trait Job: Send + Sync {
    async fn run(&self, day: NaiveDate, ctx: JobCtx) -> Result<Vec<u8>, JobError>;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JobError(pub String);

/// What a job is given.
#[derive(Clone, Debug)]
pub struct JobCtx {
    fence: u64,
    hold: Arc<Hold>,
}

impl JobCtx {
    pub(crate) fn new(fence: u64, hold: Arc<Hold>) -> JobCtx {
        JobCtx { fence, hold }
    }

    /// The number of this run, for systems that want to know which of two is the later one.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Completes when the day is not this replica's any more.
    pub async fn lost(&self) {
        self.hold.lost().await;
    }
}
