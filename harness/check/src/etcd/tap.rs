//! A tap: a proxy between the subject and a real node that understands the gateway's requests.

use super::rule::{Reply, Request, Rest, Rule};
use super::wire;
use crate::Failure;
use crate::sweep::Points;
use crate::tap::{Front, Gate, Link, LinkGuard, LinkState, RuleGuard, Rules, Verdict, When, reached};
use crate::wait::patiently;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

const SIGN_OF_LIFE: &str = "/v3/lease/keepalive";

/// What passed through a tap since it was started, as the client's side sees it: a request counts when all of it has
/// arrived, whether or not it is passed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub connections_total: u64,
    pub requests: u64,
    /// Requests by path, as in `/v3/kv/txn`.
    pub by_path: BTreeMap<String, u64>,
}

/// What the connections of one tap share.
#[derive(Debug)]
pub(super) struct Shared {
    pub rules: Arc<Rules<Rest>>,
    counts: Mutex<Counts>,
    changed: Notify,
    pub link: LinkState,
    /// Counts the calls to cut everything that is connected.
    pub cuts: watch::Sender<u64>,
}

impl Shared {
    /// Changes the counts and tells those who wait for them.
    pub fn note<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        let result = change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
        result
    }
}

/// A front of one etcd node's gateway: subjects connect to [`EtcdTap::url`], and everything that passes is counted and can
/// be disturbed. Dropping it closes its port and breaks what is connected.
///
/// Costs one task and two sockets for each connection. Speaks HTTP/1.1 only: whoever begins with HTTP/2 (gRPC) is cut off.
/// Cannot see what a streamed answer says after its first words, nor connections that are made past it.
#[derive(Debug)]
pub struct EtcdTap {
    shared: Arc<Shared>,
    front: Front,
}

impl EtcdTap {
    /// Starts a tap in front of the node at `host` and `port`, on `runtime`: the harness's own, as a rule.
    pub fn start(runtime: &Handle, host: &str, port: u16) -> io::Result<EtcdTap> {
        let shared = Arc::new(Shared {
            rules: Arc::default(),
            counts: Mutex::default(),
            changed: Notify::new(),
            link: Arc::new(watch::Sender::new(Link::default())),
            cuts: watch::Sender::new(0),
        });
        let (serving, server) = (shared.clone(), (host.to_owned(), port));
        let front = Front::open(runtime, move |client| {
            wire::serve(serving.clone(), client, server.clone())
        })?;
        Ok(EtcdTap { shared, front })
    }

    /// What the subject is given.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.front.port())
    }

    /// What has passed until now.
    pub fn counts(&self) -> Counts {
        self.shared.note(|counts| counts.clone())
    }

    /// Waits until the counts fulfil a condition, woken by each message and not by a clock.
    ///
    /// # Errors
    /// `what` did not happen within the deadline; the counts are the evidence.
    pub async fn until(
        &self,
        what: &str,
        deadline: Duration,
        fulfilled: impl Fn(&Counts) -> bool,
    ) -> Result<(), Failure> {
        let counts = || {
            self.shared
                .counts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        };
        let waiting = reached(&self.shared.changed, || fulfilled(&counts()));
        patiently(deadline, waiting).await.map_err(|limit| {
            Failure::new(format!("{what} did not happen within {limit:?}"))
                .evidence(format!("seen by the tap: {:?}", counts()))
        })
    }

    /// Puts a rule in force for as long as the guard lives.
    pub fn rule(&self, rule: Rule) -> RuleGuard {
        self.shared.rules.install(rule)
    }

    /// Holds the requests that match before they reach the node.
    pub fn hold_requests(&self, pred: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static) -> Gate {
        self.rule(Rule::on_request(move |request| match pred(request) {
            true => Verdict::Hold,
            false => Verdict::Pass,
        }))
    }

    /// Passes the request that matches, waits until the node has done it, loses the answer, and breaks the connection.
    pub fn lose_reply(&self, pred: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static) -> RuleGuard {
        self.rule(Rule::on_reply(move |reply| match pred(&reply.request) {
            true => Verdict::Cut(When::Before),
            false => Verdict::Pass,
        }))
    }

    /// Reports to a sweep: each request, and each answer to one, is a point; but for the signs of life of a lease, which come
    /// when their time is, and not where the operation is.
    pub fn report_to(&self, points: &Points) -> (RuleGuard, RuleGuard) {
        let (to_requests, to_replies) = (points.clone(), points.clone());
        let requests = self.rule(Rule::on_request(move |request| match request.path {
            SIGN_OF_LIFE => Verdict::Pass,
            path => Verdict::Point(to_requests.clone(), format!("client's {path}")),
        }));
        let replies = self.rule(Rule::on_reply(move |Reply { request }| match request.path {
            SIGN_OF_LIFE => Verdict::Pass,
            path => Verdict::Point(to_replies.clone(), format!("answer to {path}")),
        }));
        (requests, replies)
    }

    /// Closes every new connection as soon as it is accepted, as long as the guard lives.
    pub fn refuse(&self) -> LinkGuard {
        LinkGuard::raise(&self.shared.link, |link| &mut link.refused)
    }

    /// Passes nothing in either direction, as long as the guard lives: connections are accepted and never answered,
    /// and those that exist fall silent. What was sent in the meantime passes afterwards.
    pub fn black_hole(&self) -> LinkGuard {
        LinkGuard::raise(&self.shared.link, |link| &mut link.silent)
    }

    /// Breaks every connection.
    pub fn cut_all(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }
}
