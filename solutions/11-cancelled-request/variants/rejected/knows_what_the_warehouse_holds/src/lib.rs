//! `reports`: makes the reports that account managers ask for, over HTTP.
//!
//! - [`engine`]: what the reporting engine gives us: prices, the calculation, and a probe into it.
//! - [`app`](mod@app): the service's state and its routes.
//! - `case`: a report under way, and what its end takes when it is dropped.
//! - `reports`: how a report is made.
//! - `store`: the tables behind it.
//! - `error`: what a client is told when there is no report.

pub mod app;
mod case;
pub mod engine;
mod error;
mod reports;
mod store;

pub use app::{AppCfg, AppState, app};
pub use engine::{Probe, Seen, crunch};

/// Brings the database up to date. A deployment runs it once, before its instances start.
pub async fn migrate(db: &sqlx::PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    sqlx::migrate!().run(db).await
}
