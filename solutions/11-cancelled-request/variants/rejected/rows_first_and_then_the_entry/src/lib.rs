//! `reports`: makes the reports that account managers ask for, over HTTP.
//!
//! - [`engine`]: what the reporting engine gives us: prices, the calculation, and a probe into it.
//! - [`app`](mod@app): the service's state and its routes.
//! - `office`: runs errands to the database, each in a task of its own.
//! - `sessions`: connections, and who may have one.
//! - `reports`: how a report is made.
//! - `office` knows the tables behind it.
//! - `error`: what a client is told when there is no report.

pub mod app;
pub mod engine;
mod error;
mod office;
mod reports;
mod sessions;

pub use app::{AppCfg, AppState, app};
pub use engine::{Probe, Seen, crunch};

/// Brings the database up to date. A deployment runs it once, before its instances start.
pub async fn migrate(db: &sqlx::PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    sqlx::migrate!().run(db).await
}
