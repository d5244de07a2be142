//! The hidden grading of `cache-stampede`.
//!
//! - `subject`: the code that is graded; `reference`: the solution.
//! - [`traffic`]: what shop pages do: many ask for the same few prices at once.
//! - [`desk`]: the origin, which keeps books, and holds, fails or panics as it is told.
//! - [`env`]: clocks and dice.
//! - [`instance`]: one of several instances on one Redis, with its own tap.

#[cfg(feature = "exercise")]
pub use cache_stampede as subject;
#[cfg(not(feature = "exercise"))]
pub use cache_stampede_solution as subject;
pub use cache_stampede_solution as reference;

pub mod desk;
pub mod env;
pub mod instance;
pub mod traffic;
