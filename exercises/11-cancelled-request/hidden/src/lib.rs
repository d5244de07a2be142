#[cfg(feature = "exercise")]
pub use cancelled_request as subject;
#[cfg(not(feature = "exercise"))]
pub use cancelled_request_solution as subject;
