//! The author's room of "The Slow Query".
//!
//! - [`subject`] and [`reference`]: the two crates with one public API; the feature `exercise` decides who is graded.
//! - [`traffic`]: what the service's users do all day; [`others`]: what is done to the table without this service.
//! - [`stage`]: a check's database in the states that the contract speaks of, and what the grader asks of it.
//!
//! What the checks do, by promise:
//!
//! - [`listing`]: pages and what is wrong with one; [`walks`] through them; [`freshness`]; [`addresses`];
//!   [`neighbours`].
//! - [`deploy`]: a running `migrate`, let on statement by statement, or killed; the [`crowd`] that signs up meanwhile;
//!   [`ordeal`]: what both go through.
//! - [`lookups`], [`updates`]: costs on the grown table; [`bill`]: what a call costs; [`plan_log`] and [`diagnosis`]: the
//!   plan that explains it, and what that says.

pub mod addresses;
pub mod bill;
pub mod crowd;
pub mod deploy;
pub mod diagnosis;
pub mod freshness;
pub mod listing;
pub mod lookups;
pub mod neighbours;
pub mod ordeal;
pub mod others;
pub mod plan_log;
pub mod stage;
pub mod traffic;
pub mod updates;
pub mod walks;

#[cfg(feature = "exercise")]
pub use slow_query as subject;
pub use slow_query_solution as reference;
#[cfg(not(feature = "exercise"))]
pub use slow_query_solution as subject;
