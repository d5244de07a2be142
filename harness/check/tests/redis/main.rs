//! The tap against a real Redis, through a real driver.

mod counting;
mod faults;
mod support;
