//! `ledgerd`: moves money between accounts, and tells where it went.
//!
//! - [`model`]: what callers see: the configuration, answers and errors.
//! - [`bank`]: the service.
//! - `counter`: where calls queue.
//! - `teller`: serves them, each teller with one connection of its own.
//! - `ledger`: the tables.

pub mod bank;
mod counter;
mod ledger;
pub mod model;
mod teller;

pub use bank::Bank;
pub use model::{BankConfig, BankError, Entry, Health, Statement, TxId};

/// Brings the database up to date. A deployment runs it once, before the service starts.
pub async fn migrate(db: &sqlx::PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    sqlx::migrate!().run(db).await
}
