//! What the connections of one tap share, and keep.

use super::counts::{Command, Counts};
use super::rule::Resp;

pub(super) type Shared = crate::tap::Shared<Resp>;

/// Everything that is counted, under one lock.
#[derive(Debug, Default)]
pub struct Books {
    pub counts: Counts,
    pub log: Vec<Command>,
    /// Connections that this tap has made to the server.
    pub to_server: u64,
}
