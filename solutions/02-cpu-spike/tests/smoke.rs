extern crate cpu_spike_solution as cpu_spike;

include!("../../../exercises/02-cpu-spike/tests/smoke.rs");
