//! A tap: a proxy between the subject and a real node that understands what is asked.

use super::frame::Session;
use super::rule::{Reply, Request, Rule, Zab};
use super::wire;
use crate::sweep::Points;
use crate::tap::{Front, Gate, Link, LinkGuard, LinkState, RuleGuard, Rules, Verdict, When};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::watch;

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

/// What the connections of one tap share.
#[derive(Debug)]
pub(super) struct Shared {
    pub rules: Arc<Rules<Zab>>,
    books: Mutex<Books>,
    pub link: LinkState,
    /// Counts the calls to cut everything that is connected.
    pub cuts: watch::Sender<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Books {
    pub counts: Counts,
    /// Sessions that were opened, each once.
    pub sessions: Vec<Session>,
}

impl Shared {
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A front of one ZooKeeper node: subjects connect to [`ZooKeeperTap::connect_string`], and everything that passes is
/// counted and can be disturbed. Dropping it closes its port and breaks what is connected.
///
/// Costs one task and two sockets for each connection. Whoever begins with a word of four letters is cut off. Cannot see
/// what stands inside a transaction but its first path, nor connections that are made past it.
#[derive(Debug)]
pub struct ZooKeeperTap {
    shared: Arc<Shared>,
    front: Front,
}

impl ZooKeeperTap {
    /// Starts a tap in front of the node at `host` and `port`, on `runtime`: the harness's own, as a rule.
    pub fn start(runtime: &Handle, host: &str, port: u16) -> io::Result<ZooKeeperTap> {
        let shared = Arc::new(Shared {
            rules: Arc::default(),
            books: Mutex::default(),
            link: Arc::new(watch::Sender::new(Link::default())),
            cuts: watch::Sender::new(0),
        });
        let (serving, server) = (shared.clone(), (host.to_owned(), port));
        let front = Front::open(runtime, move |client| {
            wire::serve(serving.clone(), client, server.clone())
        })?;
        Ok(ZooKeeperTap { shared, front })
    }

    /// What the subject is given.
    pub fn connect_string(&self) -> String {
        format!("127.0.0.1:{}", self.front.port())
    }

    /// What has passed until now.
    pub fn counts(&self) -> Counts {
        self.shared.books().counts.clone()
    }

    pub(super) fn sessions(&self) -> Vec<Session> {
        self.shared.books().sessions.clone()
    }

    /// Puts a rule in force for as long as the guard lives.
    pub fn rule(&self, rule: Rule) -> RuleGuard {
        self.shared.rules.install(rule)
    }

    /// Holds the requests that match before they reach the node. Signs of life wait behind them.
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

    /// Reports to a sweep: each question, and each answer to one, is a point.
    pub fn report_to(&self, points: &Points) -> (RuleGuard, RuleGuard) {
        let (to_requests, to_replies) = (points.clone(), points.clone());
        let requests = self.rule(Rule::on_request(move |request| match request.question {
            true => Verdict::Point(to_requests.clone(), format!("client's {}", request.op)),
            false => Verdict::Pass,
        }));
        let replies = self.rule(Rule::on_reply(move |Reply { request }| match request.question {
            true => Verdict::Point(to_replies.clone(), format!("answer to {}", request.op)),
            false => Verdict::Pass,
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
