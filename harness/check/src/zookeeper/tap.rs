//! The tap of ZooKeeper.

use super::frame::Session;
use super::rule::Zab;
use super::wire;
use crate::tap::{self, Tap};
use std::collections::BTreeMap;
use std::io;
use tokio::runtime::Handle;

/// What passed through a tap since it was started, as the client's side sees it: a request counts when all of it has
/// arrived, whether or not it is passed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub connections_total: u64,
    /// Requests that ask for something: neither signs of life, nor what opens and closes a session.
    pub questions: u64,
    /// Requests of every kind by name, as in `create2`.
    pub by_op: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
pub struct Books {
    pub counts: Counts,
    /// Sessions that were opened, each once.
    pub(super) sessions: Vec<Session>,
}

pub(super) type Shared = tap::Shared<Zab>;

/// A front of one ZooKeeper node: subjects connect to [`ZooKeeperTap::connect_string`].
///
/// Whoever begins with a word of four letters is cut off. Signs of life wait behind requests that are held. Cannot see
/// what stands inside a transaction but its first path.
pub type ZooKeeperTap = Tap<Zab>;

impl ZooKeeperTap {
    /// Starts a tap in front of the node at `host` and `port`, on `runtime`: the harness's own, as a rule.
    pub fn start(runtime: &Handle, host: &str, port: u16) -> io::Result<ZooKeeperTap> {
        Tap::open(runtime, (host, port), |_| (), wire::serve)
    }

    /// What the subject is given.
    pub fn connect_string(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    pub(super) fn sessions(&self) -> Vec<Session> {
        self.shared.books().sessions.clone()
    }
}
