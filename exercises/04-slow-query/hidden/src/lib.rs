//! The author's room of "The Slow Query".
//!
//! - [`subject`] and [`reference`]: the two crates with one public API; the feature `exercise` decides who is graded.
//! - [`traffic`]: the regions, and what others do to the table: sign-up, imports, moderation.
//! - [`stage`]: a check's database in the states that the contract speaks of, and what the grader asks of it.
//! - [`deploy`]: a running `migrate` under open transactions, which can be let on, step by step, or killed; [`ordeal`]:
//!   what it has to stand.
//! - [`listing`]: walks through pages, and what is wrong with one.
//! - [`cost`]: what a call costs; [`plan_log`] and [`diagnosis`]: the plan that explains it, and what that says.

pub mod cost;
pub mod deploy;
pub mod diagnosis;
pub mod listing;
pub mod ordeal;
pub mod plan_log;
pub mod stage;
pub mod traffic;

#[cfg(feature = "exercise")]
pub use slow_query as subject;
pub use slow_query_solution as reference;
#[cfg(not(feature = "exercise"))]
pub use slow_query_solution as subject;
