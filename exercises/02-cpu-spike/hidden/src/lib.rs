//! The author's room of the second scenario: `subject` is what is graded, `reference` what it is compared with,
//! [`traffic`] what the service's users do.
//!
//! - [`json`]: texts compared as values, numbers to the last bit.
//! - [`model`]: what the contract says of an event, written for reading and not for speed.
//! - [`corpus`]: events as nobody would send them on purpose.

#[cfg(feature = "exercise")]
pub use cpu_spike as subject;
#[cfg(not(feature = "exercise"))]
pub use cpu_spike_solution as subject;
pub use cpu_spike_solution as reference;

pub mod corpus;
pub mod json;
pub mod model;
pub mod traffic;
