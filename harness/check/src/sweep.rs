//! Sweeps: the same operation again and again, disturbed each time at another point of its traffic.
//!
//! A deterministic search through every place at which the network, a caller or a machine can fail: the run is
//! disturbed at its first point, then at its second, and so on to the last, and after each the invariants are verified.
//! Points are client messages and answers that pass a tap, and whatever a stub server reports by [`Points::pass`].
//! How many there are is taken from an undisturbed run.
//!
//! - *cut*: the message is lost and its connection breaks; the caller lives on and may try again.
//! - *abort*: the caller's task is dropped while the message is held, then the message passes; whatever the caller
//!   detached lives on.
//! - *crash*: the instance's whole runtime is shut down while the message is held, then the message is lost. Unlike
//!   with `SIGKILL`, destructors run; what they spawn does not.
//!
//! Since a client's message and the answer to it are points of their own, both "it was never sent" and "it was done
//! and nobody was told" are among the disturbances.

mod driver;
mod points;

pub use driver::{After, Case, Scene, Sweep, Swept, abort, crash, cut};
pub use points::{Fate, Points};
