//! A tap: a proxy between the subject and the real server that understands what passes.

use super::counts::{Command, Counts};
use super::rule::{Reply, Request, Rule};
use super::shared::Shared;
use super::wire;
use crate::Failure;
use crate::sweep::Points;
use crate::tap::{Front, Gate, LinkGuard, RuleGuard, Verdict, When, reached};
use crate::wait::patiently;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// A front of one Redis server: subjects connect to [`RedisTap::url`], and everything that passes is counted and can be
/// disturbed. Dropping it closes its port and breaks what is connected.
///
/// Costs: one task and two sockets for each connection, on the runtime that it was started on; a few microseconds of
/// latency per round trip. A value is passed on once all of it has arrived. Every command is kept until the tap ends, so
/// a load of millions is better counted than logged.
#[derive(Debug)]
pub struct RedisTap {
    shared: Arc<Shared>,
    front: Front,
}

impl RedisTap {
    /// Starts a tap in front of the server at `host` and `port`. It runs on `runtime`, which should be the harness's own:
    /// then nothing of it counts as the subject's, and a subject that blocks its threads does not block the tap.
    pub fn start(runtime: &Handle, host: &str, port: u16) -> io::Result<RedisTap> {
        let shared = Arc::new(Shared::new());
        let (serving, server) = (shared.clone(), (host.to_owned(), port));
        let front = Front::open(runtime, move |client| {
            wire::serve(serving.clone(), client, server.clone())
        })?;
        Ok(RedisTap { shared, front })
    }

    /// What the subject is given.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.front.port())
    }

    pub fn port(&self) -> u16 {
        self.front.port()
    }

    /// What has passed until now.
    pub fn counts(&self) -> Counts {
        self.shared.books().counts.clone()
    }

    /// Forgets the peaks, so that they tell of what comes from now on.
    pub fn reset_peaks(&self) {
        let counts = &mut self.shared.books().counts;
        counts.connections_peak = counts.connections_open;
        counts.in_flight_peak = counts.in_flight;
    }

    /// Every command that arrived, in order.
    pub fn commands(&self) -> Vec<Command> {
        self.shared.books().log.clone()
    }

    /// The commands that arrived after the first `n`.
    pub fn commands_after(&self, n: usize) -> Vec<Command> {
        self.shared
            .books()
            .log
            .get(n..)
            .map(<[_]>::to_vec)
            .unwrap_or_default()
    }

    /// How many connections this tap has made to the server.
    pub(super) fn connections_to_server(&self) -> u64 {
        self.shared.books().to_server
    }

    /// Waits until the counts fulfil a condition, woken by each message and not by a clock.
    ///
    /// # Errors
    /// `what` did not happen within the deadline, which grows while the machine is starved; the counts are the evidence.
    pub async fn until(
        &self,
        what: &str,
        deadline: Duration,
        fulfilled: impl Fn(&Counts) -> bool,
    ) -> Result<(), Failure> {
        let waiting = reached(&self.shared.changed, || fulfilled(&self.shared.books().counts));
        patiently(deadline, waiting).await.map_err(|limit| {
            Failure::new(format!("{what} did not happen within {limit:?}"))
                .evidence(format!("seen by the tap: {:?}", self.counts()))
        })
    }

    /// Puts a rule in force for as long as the guard lives.
    pub fn rule(&self, rule: Rule) -> RuleGuard {
        self.shared.rules.install(rule)
    }

    /// Holds the commands that match before they reach the server.
    pub fn hold_requests(&self, pred: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static) -> Gate {
        self.on_requests(pred, Verdict::Hold)
    }

    /// Holds the replies to commands that match: the server has done it, and the client does not know.
    pub fn hold_replies(&self, pred: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static) -> Gate {
        self.on_replies(pred, Verdict::Hold)
    }

    /// Breaks the connection instead of passing a command that matches.
    pub fn cut_before(&self, pred: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static) -> RuleGuard {
        self.on_requests(pred, Verdict::Cut(When::Before))
    }

    /// Passes the command that matches, and breaks the connection at once: the client never hears.
    pub fn cut_after(&self, pred: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static) -> RuleGuard {
        self.on_requests(pred, Verdict::Cut(When::After))
    }

    /// Passes the command that matches, waits until the server has done it, loses the reply, and breaks the connection.
    pub fn lose_reply(&self, pred: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static) -> RuleGuard {
        self.on_replies(pred, Verdict::Cut(When::Before))
    }

    /// Passes commands that match, and whatever comes after them on their connection, that much later.
    pub fn delay(
        &self,
        pred: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static,
        by: Duration,
    ) -> RuleGuard {
        self.on_requests(pred, Verdict::Delay(by))
    }

    /// Breaks the connection instead of passing the `k`-th command from now, from 1; see [`RedisTap::on_frame`].
    pub fn cut_at_frame(&self, k: u64) -> RuleGuard {
        let nth = Nth::new(k);
        self.on_requests(move |request| nth.is(request), Verdict::Cut(When::Before))
    }

    /// Calls back when the `k`-th command of any client arrives from now, from 1, before it is passed on. Commands that do
    /// not work with data are not counted. The callback runs on the tap's thread and must not block.
    pub fn on_frame(&self, k: u64, callback: impl FnOnce() + Send + 'static) -> RuleGuard {
        let nth = Nth::new(k);
        let callback = Mutex::new(Some(callback));
        self.rule(Rule::on_request(move |request| {
            if nth.is(request)
                && let Some(callback) = callback.lock().unwrap_or_else(PoisonError::into_inner).take()
            {
                callback();
            }
            Verdict::Pass
        }))
    }

    /// Reports to a sweep: each command that works with data, and each reply to one, is a point.
    pub fn report_to(&self, points: &Points) -> (RuleGuard, RuleGuard) {
        let (to_requests, to_replies) = (points.clone(), points.clone());
        let requests = self.rule(Rule::on_request(move |request| match request.data {
            true => Verdict::Point(to_requests.clone(), format!("client's {}", request.name)),
            false => Verdict::Pass,
        }));
        let replies = self.rule(Rule::on_reply(move |Reply { request }| match request.data {
            true => Verdict::Point(to_replies.clone(), format!("reply to {}", request.name)),
            false => Verdict::Pass,
        }));
        (requests, replies)
    }

    /// Closes every new connection as soon as it is accepted, as long as the guard lives. Those that exist go on; see
    /// [`RedisTap::cut_all`].
    pub fn refuse(&self) -> LinkGuard {
        LinkGuard::raise(&self.shared.link, |link| &mut link.refused)
    }

    /// Passes nothing in either direction, as long as the guard lives: connections are accepted and never answered,
    /// and those that exist fall silent. What was sent in the meantime passes afterwards.
    pub fn black_hole(&self) -> LinkGuard {
        LinkGuard::raise(&self.shared.link, |link| &mut link.silent)
    }

    /// Breaks every connection. What the clients had sent and what was passed on is done by the server.
    pub fn cut_all(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn on_requests(
        &self,
        pred: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static,
        verdict: Verdict,
    ) -> RuleGuard {
        self.rule(Rule::on_request(move |request| {
            if pred(request) {
                verdict.clone()
            } else {
                Verdict::Pass
            }
        }))
    }

    fn on_replies(
        &self,
        pred: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static,
        verdict: Verdict,
    ) -> RuleGuard {
        self.rule(Rule::on_reply(move |reply| {
            if pred(&reply.request) {
                verdict.clone()
            } else {
                Verdict::Pass
            }
        }))
    }
}

/// Recognises the k-th command of any client.
struct Nth {
    k: u64,
    seen: AtomicU64,
}

impl Nth {
    fn new(k: u64) -> Nth {
        Nth {
            k,
            seen: AtomicU64::new(0),
        }
    }

    fn is(&self, request: &Request<'_>) -> bool {
        request.data && self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.k
    }
}
