//! The exercise's own tests, on the reference.

extern crate cache_stampede_solution as cache_stampede;

include!("../../../exercises/08-cache-stampede/tests/smoke.rs");
