//! ZooKeeper under observation. In reading order:
//!
//! - [`ZooKeeper`]: a check's own node, with a tap in front of it, and the grader's way past it;
//! - [`Doorbell`]: whether anybody wants such a node at all, which takes seconds to start;
//! - [`ZooKeeperTap`]: the proxy that counts what passes and disturbs it; [`Counts`];
//! - [`Rule`], [`Verdict`]: faults, and [`Gate`], which holds requests or their answers until they are let go.

mod fixture;
mod frame;
mod rule;
mod tap;
mod wire;

pub use crate::tap::{Gate, LinkGuard, RuleGuard, Verdict, When};
pub use fixture::{Doorbell, ZooKeeper};
pub use rule::{Reply, Request, Rule, Zab};
pub use tap::{Counts, ZooKeeperTap};
