#[cfg(feature = "exercise")]
pub use counter as subject;
pub use counter_solution as reference;
#[cfg(not(feature = "exercise"))]
pub use counter_solution as subject;
