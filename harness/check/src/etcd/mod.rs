//! etcd under observation, by its JSON gateway. In reading order:
//!
//! - [`Etcd`]: a check's own node, with a tap in front of it, and the grader's way past it;
//! - [`EtcdTap`]: the proxy that counts what passes and disturbs it; [`Counts`];
//! - [`Rule`], [`Verdict`]: faults, and [`Gate`], which holds requests or their answers until they are let go.

mod fixture;
mod rule;
mod tap;
mod wire;

pub use crate::tap::{Gate, LinkGuard, RuleGuard, Verdict, When};
pub use fixture::Etcd;
pub use rule::{Reply, Request, Rest, Rule};
pub use tap::{Counts, EtcdTap};
