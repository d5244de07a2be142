//! The hidden grading of `cancelled-request`.
//!
//! - `subject`: the code that is graded; `reference`: the solution.
//! - [`traffic`]: what clients ask for, and [`visit`]: how they come and how they leave.
//! - [`door`]: the HTTP server, which knows who is inside; [`prices`]: the price service.
//! - [`steps`]: sees the calculation, and holds it; [`warehouse`]: what PostgreSQL is busy with, and the records.
//! - `loopback`: where these listen. [`front`]: in front of the tap, where cancel requests can be held.
//! - [`stage`]: an instance with all of these.

#[cfg(feature = "exercise")]
pub use cancelled_request as subject;
#[cfg(not(feature = "exercise"))]
pub use cancelled_request_solution as subject;
pub use cancelled_request_solution as reference;

pub mod door;
pub mod front;
mod loopback;
pub mod prices;
pub mod stage;
pub mod steps;
pub mod traffic;
pub mod visit;
pub mod warehouse;
