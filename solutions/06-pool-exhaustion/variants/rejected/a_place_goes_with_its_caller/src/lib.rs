//! `orders`: places orders, and finds them again. Three replicas stand before one database.
//!
//! - [`Orders`]: the service;
//! - [`NewOrder`], [`Order`], [`Search`], [`OrderError`]: what is asked and answered;
//! - [`DbConfig`]: how a replica uses the database; [`Stats`]: what it reports of itself;
//! - [`Clock`], [`Carrier`]: the outside world (`src/ext`, provided).

mod config;
mod ext;
mod gate;
mod health;
mod order;
mod orders;
mod stats;
mod store;

pub use config::{BreakerCfg, DbConfig};
pub use ext::{Carrier, CarrierError, Clock, FlatRate, SystemClock};
pub use order::{NewOrder, Order, OrderError, OrderId, Search, SearchBy};
pub use orders::Orders;
pub use stats::{BreakerState, Stats};
