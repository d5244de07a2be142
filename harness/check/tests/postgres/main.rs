//! The tap and the probes against a real PostgreSQL, through a real driver.

mod counting;
mod faults;
mod probes;
mod support;
mod sweeping;
