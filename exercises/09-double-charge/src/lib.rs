//! `pay`: takes a merchant's payment and charges the customer through the payment provider.
//!
//! - [`psp`]: the provider's client, and what the provider promises.
//! - [`request`]: what a merchant asks for and what it is answered.
//! - [`payments`]: the endpoint itself, and its two maintenance jobs.
//! - `store`: the tables behind it.

pub mod payments;
pub mod psp;
pub mod request;
mod store;

pub use payments::Payments;
pub use psp::{Charge, HttpPsp, Psp, PspError, Receipt};
pub use request::{IdemCfg, PayError, PayReq, PayResp};

/// Brings the database up to date. A deployment runs it once, before its instances start.
pub async fn migrate(db: &sqlx::PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    sqlx::migrate!().run(db).await
}
