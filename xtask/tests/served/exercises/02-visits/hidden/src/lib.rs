#[cfg(feature = "exercise")]
pub use visits as subject;
pub use visits_solution as reference;
#[cfg(not(feature = "exercise"))]
pub use visits_solution as subject;
