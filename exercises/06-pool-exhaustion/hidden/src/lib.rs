//! The hidden grading of `pool-exhaustion`.
//!
//! - `subject`: the code that is graded; `reference`: the solution; `deploy`: what the servers are configured with.
//! - [`traffic`]: what shops ask for, and what the right answers are.
//! - [`stage`]: a check's database, and one replica before it; [`pooler`]: the same behind PgBouncer.
//! - [`calls`]: requests under way, and what became of them.
//! - [`outside`]: the clock, and the carrier.
//! - [`fleet`]: replicas as processes.

#![allow(
    clippy::unneeded_struct_pattern,
    reason = "a fix may give the variants of `OrderError` fields, or take them away"
)]

#[cfg(feature = "exercise")]
pub use pool_exhaustion as subject;
#[cfg(not(feature = "exercise"))]
pub use pool_exhaustion_solution as subject;
pub use pool_exhaustion_solution as reference;

pub mod calls;
pub mod fleet;
pub mod outside;
pub mod pooler;
pub mod stage;
pub mod traffic;

/// The subject's configuration of the servers.
pub mod deploy {
    #[cfg(feature = "exercise")]
    pub const POSTGRES: &str = include_str!("../../deploy/postgres.ini");
    #[cfg(not(feature = "exercise"))]
    pub const POSTGRES: &str = include_str!("../../../../solutions/06-pool-exhaustion/deploy/postgres.ini");

    #[cfg(feature = "exercise")]
    pub const PGBOUNCER: &str = include_str!("../../deploy/pgbouncer.ini");
    #[cfg(not(feature = "exercise"))]
    pub const PGBOUNCER: &str = include_str!("../../../../solutions/06-pool-exhaustion/deploy/pgbouncer.ini");
}
