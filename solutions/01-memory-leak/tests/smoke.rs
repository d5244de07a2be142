extern crate memory_leak_solution as memory_leak;

include!("../../../exercises/01-memory-leak/tests/smoke.rs");
