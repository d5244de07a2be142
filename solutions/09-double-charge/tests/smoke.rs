//! The exercise's own tests, on the reference.

extern crate double_charge_solution as double_charge;

include!("../../../exercises/09-double-charge/tests/smoke.rs");
