//! The exercise's own tests, on the reference.

extern crate cancelled_request_solution as cancelled_request;

#[path = "../../../exercises/11-cancelled-request/tests/smoke.rs"]
mod smoke;
