//! `ledgerd`: moves money between accounts, and tells where it went.
//!
//! - [`model`]: what callers see: the configuration, answers and errors.
//! - [`bank`]: the service.
//! - `accounts`: who may move an account's money.
//! - `ledger`: what the database is asked.
//! - `pool`: the connections.
//! - `pulse`: whether the database answers.

mod accounts;
pub mod bank;
mod ledger;
pub mod model;
mod pool;
mod pulse;

pub use bank::Bank;
pub use model::{BankConfig, BankError, Entry, Health, Statement, TxId};

/// Brings the database up to date. A deployment runs it once, before the service starts.
pub async fn migrate(db: &sqlx::PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    sqlx::migrate!().run(db).await
}
