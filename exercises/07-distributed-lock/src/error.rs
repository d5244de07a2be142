use std::fmt::Display;

use crate::ext::SinkError;
use crate::job::JobError;

/// Why a run has no [`Outcome`](crate::Outcome).
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The server that knows who has the day did not answer, or answered with an error.
    #[error("the lock's server: {0}")]
    Backend(String),
    #[error("the report could not be made: {0}")]
    Job(#[from] JobError),
    #[error("the report could not be published: {0}")]
    Sink(#[from] SinkError),
}

impl LockError {
    pub(crate) fn backend(error: impl Display) -> LockError {
        LockError::Backend(error.to_string())
    }
}
