//! The hidden grading of `hot-partition`.
//!
//! - `subject`: the code that is graded; `reference`: the solution.
//! - [`traffic`]: what producers send, and what is there already.
//! - [`stage`]: a server, a table with its history, and instances of the service.
//! - [`reader`]: pages, one after the other, and what holds for them.
//! - [`burst`]: many appends at once, and what the store made of them.
//! - [`rounds`]: how many requests have to wait for others.

#[cfg(feature = "exercise")]
pub use hot_partition as subject;
#[cfg(not(feature = "exercise"))]
pub use hot_partition_solution as subject;
pub use hot_partition_solution as reference;

pub mod burst;
pub mod reader;
pub mod rounds;
pub mod stage;
pub mod traffic;
