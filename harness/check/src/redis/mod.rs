//! Redis under observation. In reading order:
//!
//! - [`Redis`]: a check's own server, with a tap in front of it;
//! - [`RedisTap`]: the proxy that counts what passes and disturbs it; [`Counts`], [`Command`];
//! - [`Rule`], [`Verdict`]: faults, and [`Gate`], which holds commands or their replies until they are let go;
//! - [`Client`]: the grader's way past the taps; [`Value`]: what a server says.

mod client;
mod counts;
mod fixture;
mod resp;
mod rule;
mod session;
mod shared;
mod tap;
mod wire;

pub use crate::tap::{Gate, LinkGuard, RuleGuard, Verdict, When};
pub use client::Client;
pub use counts::{Command, Counts};
pub use fixture::Redis;
pub use resp::Value;
pub use rule::{Reply, Request, Resp, Rule};
pub use tap::RedisTap;
