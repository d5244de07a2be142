//! The tap of etcd's gateway.

use super::rule::Rest;
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
    pub requests: u64,
    /// Requests by path, as in `/v3/kv/txn`.
    pub by_path: BTreeMap<String, u64>,
}

pub(super) type Shared = tap::Shared<Rest>;

/// A front of one etcd node's gateway: subjects connect to [`EtcdTap::url`].
///
/// Speaks HTTP/1.1 only: whoever begins with HTTP/2 (gRPC) is cut off. Cannot see what a streamed answer says after its
/// first words.
pub type EtcdTap = Tap<Rest>;

impl EtcdTap {
    /// Starts a tap in front of the node at `host` and `port`, on `runtime`: the harness's own, as a rule.
    pub fn start(runtime: &Handle, host: &str, port: u16) -> io::Result<EtcdTap> {
        Tap::open(runtime, (host, port), |_| (), wire::serve)
    }

    /// What the subject is given.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }
}
