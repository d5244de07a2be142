//! `cargo xtask incident`, seen with the tools that it is made for: a browser, Prometheus, `go tool pprof`.
//!
//! Each test builds what it watches, and needs the servers of its scenario; where a tool is not there, it says so and is
//! skipped. They take turns, since each fills the machine. Asked for by name: `cargo test -p xtask --test oncall`.

mod browser;
mod deadlock;
mod memory;
mod page;
mod pprof;
mod prometheus;
mod watched;
