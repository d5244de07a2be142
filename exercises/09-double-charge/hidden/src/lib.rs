//! The hidden grading of `double-charge`.
//!
//! - `subject`: the code that is graded; `reference`: the solution.
//! - [`traffic`]: what merchants send.
//! - [`provider`] and [`turn`]: the payment provider, and what becomes of a charge.
//! - [`instance`]: one instance of the service, with its own pool and tap; [`doomed`]: one that dies while it is busy;
//!   [`stage`]: two of them and a provider.
//! - [`promise`]: what holds for a payment, whatever happened to it.

#![expect(
    clippy::unneeded_struct_pattern,
    reason = "a fix may give the variants of `PayError` fields, or take them away"
)]

#[cfg(feature = "exercise")]
pub use double_charge as subject;
#[cfg(not(feature = "exercise"))]
pub use double_charge_solution as subject;
pub use double_charge_solution as reference;

pub mod doomed;
pub mod instance;
pub mod promise;
pub mod provider;
pub mod stage;
pub mod traffic;
pub mod turn;
