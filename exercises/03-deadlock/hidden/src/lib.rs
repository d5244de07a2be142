//! The hidden grading of `deadlock`.
//!
//! - `subject`: the code that is graded; `reference`: the solution.
//! - [`traffic`]: what customers do.
//! - [`branch`]: the service with its database, its tap and its customers' accounts.
//! - [`books`]: what the database says, past the service.
//! - [`quiet`]: a barrier for those who may come, and may rightly not.

#[cfg(feature = "exercise")]
pub use deadlock as subject;
#[cfg(not(feature = "exercise"))]
pub use deadlock_solution as subject;
pub use deadlock_solution as reference;

pub mod books;
pub mod branch;
pub mod quiet;
pub mod traffic;
