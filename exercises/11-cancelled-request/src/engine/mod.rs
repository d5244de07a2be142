//! The reporting engine, which another team owns. These files are provided.
//!
//! - [`crunch`]: the calculation, a step at a time.
//! - [`probe`]: sees every step.
//! - [`prices`]: the price service's client.

pub mod crunch;
pub mod prices;
pub mod probe;

pub use probe::{Probe, Seen};
