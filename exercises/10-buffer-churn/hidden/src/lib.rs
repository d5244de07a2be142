//! The author's room of the tenth scenario: `subject` is what is graded, `reference` what it is compared with,
//! [`traffic`] what the service's users do.

#[cfg(feature = "exercise")]
pub use buffer_churn as subject;
#[cfg(not(feature = "exercise"))]
pub use buffer_churn_solution as subject;
pub use buffer_churn_solution as reference;

pub mod traffic;
