extern crate buffer_churn_solution as buffer_churn;

include!("../../../exercises/10-buffer-churn/tests/smoke.rs");
