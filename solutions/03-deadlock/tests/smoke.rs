//! The exercise's own tests, on the reference.

extern crate deadlock_solution as deadlock;

include!("../../../exercises/03-deadlock/tests/smoke.rs");
