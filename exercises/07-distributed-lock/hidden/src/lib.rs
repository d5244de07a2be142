//! The hidden grading of `distributed-lock`.
//!
//! - `subject`: the code that is graded; `reference`: the solution.
//! - [`desk`]: where replicas tell what their jobs do, where jobs wait, and where reports go: the archive.
//! - [`fleet`]: replicas as processes; [`stage`]: the servers, and who comes to them through which tap.

#[cfg(feature = "exercise")]
pub use distributed_lock as subject;
#[cfg(not(feature = "exercise"))]
pub use distributed_lock_solution as subject;
pub use distributed_lock_solution as reference;

pub mod desk;
pub mod fleet;
pub mod stage;
