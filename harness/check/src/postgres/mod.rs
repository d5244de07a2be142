//! PostgreSQL under observation. In reading order:
//!
//! - [`Postgres`]: a check's own database, with a role that owns it and a tap in front of it;
//! - [`PgTap`]: the proxy that counts what passes and disturbs it; [`Counts`], [`Statement`];
//! - [`Rule`], [`Verdict`]: faults, and [`Gate`], which holds messages until they are let go;
//! - [`StatementStats`]: blocks per call; [`IndexWrites`]: what a write costs in indexes; [`sizes`];
//! - [`plan`]: the plan as a driver gets it; [`Lookout`]: other questions;
//! - `bound`: the values that drivers bind, in programs that are watched on call;
//! - `sessions`: whether anybody connected past the tap.

#[cfg(feature = "binds")]
mod bound;
mod counts;
mod fixture;
mod lookout;
pub mod plan;
mod rule;
mod session;
mod sessions;
mod shared;
pub mod sizes;
mod sql;
mod stats;
mod tap;
mod wal;
mod wire;

pub use crate::tap::{Gate, LinkGuard, RuleGuard, Verdict, When};
#[cfg(feature = "binds")]
pub use bound::Bound;
pub use counts::{Counts, Statement};
pub use fixture::Postgres;
pub use lookout::Lookout;
pub use rule::{Kind, Pg, Reply, Request, Rule};
pub use stats::{StatementStat, StatementStats};
pub use tap::PgTap;
pub use wal::{IndexWrite, IndexWrites};
