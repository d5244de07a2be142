//! The exercise's own tests, on the reference.

extern crate distributed_lock_solution as distributed_lock;

include!("../../../exercises/07-distributed-lock/tests/smoke.rs");
