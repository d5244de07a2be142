extern crate slow_query_solution as slow_query;

include!("../../../exercises/04-slow-query/tests/smoke.rs");
