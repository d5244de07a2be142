//! The exercise's own tests, on the reference.

extern crate pool_exhaustion_solution as pool_exhaustion;

include!("../../../exercises/06-pool-exhaustion/tests/smoke.rs");
