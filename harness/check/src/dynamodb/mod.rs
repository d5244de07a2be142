//! DynamoDB under observation. In reading order:
//!
//! - [`DynamoDb`]: a check's own server, with a tap in front of it;
//! - [`DynamoTap`]: the proxy that counts what passes and disturbs it; [`Counts`], [`Request`];
//! - [`Rule`], [`Verdict`], [`Gate`]: requests or their answers held, delayed or lost; [`Refusal`]: requests answered with
//!   an error of the server's;
//! - [`Limit`], [`Window`]: the capacity of partitions, which the servers of a grade do not have and the taps add;
//! - [`Client`]: the grader's way past the taps.

mod capacity;
mod client;
mod counts;
mod fixture;
mod http;
mod operation;
mod partition;
mod refusal;
mod size;
mod tap;
mod wire;

pub use crate::tap::{Gate, RuleGuard, Verdict, When};
pub use client::Client;
pub use counts::Counts;
pub use fixture::DynamoDb;
pub use operation::{Access, Request};
pub use partition::{Limit, PARTITIONS, Window};
pub use refusal::{Refusal, RefusalGuard};
pub use tap::{DynamoTap, Rule};
