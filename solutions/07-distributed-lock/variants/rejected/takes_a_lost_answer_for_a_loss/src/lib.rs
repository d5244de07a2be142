//! The daily report: five replicas, one of which makes it.
//!
//! - [`Reporter::run_once`]: what the scheduler calls on every replica, every minute.
//! - [`Job`]: what makes the report; [`JobCtx`]: what it is given. [`ReportSink`]: where the report goes.
//! - [`ext`]: what belongs to other teams.
//! - `lock`: which replica has a day, in PostgreSQL, in Redis or in etcd. `hold`: until when. `token`: which run it is.

mod error;
pub mod ext;
mod hold;
mod job;
mod lock;
mod reporter;
mod token;

pub use chrono::NaiveDate;
pub use error::LockError;
pub use ext::{ReportSink, Shelf, SinkError};
pub use job::{Job, JobCtx, JobError};
pub use reporter::{Backend, Deps, LockCfg, Outcome, Reporter};

/// Brings the database up to date. A deployment runs it once, before its replicas start.
pub async fn migrate(postgres: &str) -> Result<(), LockError> {
    let db = ext::postgres(postgres)?;
    sqlx::migrate!().run(&db).await.map_err(LockError::backend)?;
    db.close().await;
    Ok(())
}
