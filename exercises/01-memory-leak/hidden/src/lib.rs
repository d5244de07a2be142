//! The author's room of the first scenario: `subject` is what is graded, `reference` what it is compared with,
//! [`traffic`] what the service's users do.

#[cfg(feature = "exercise")]
pub use memory_leak as subject;
#[cfg(not(feature = "exercise"))]
pub use memory_leak_solution as subject;
pub use memory_leak_solution as reference;

pub mod traffic;
