//! A tap: a proxy between the subject and the real server that understands what passes. Here is what all of them can do,
//! whatever they understand.

use super::front::{Front, reached};
use super::shared::Shared;
use super::{Gate, LinkGuard, Protocol, Rule, RuleGuard, Verdict, When};
use crate::Failure;
use crate::sweep::Points;
use crate::wait::patiently;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// A front of one server that speaks `P`: subjects connect to it, and everything that passes is counted and can be
/// disturbed. Dropping it closes its port and breaks what is connected.
///
/// Costs: one task and two sockets for each connection, on the runtime that it was started on. It cannot see connections
/// that are made past it.
#[derive(Debug)]
pub struct Tap<P: Protocol> {
    pub(crate) shared: Arc<Shared<P>>,
    pub(crate) front: Front,
}

impl<P: Protocol> Tap<P> {
    /// Starts a tap in front of the server at `host` and `port`. It runs on `runtime`, which should be the harness's own:
    /// then nothing of it counts as the subject's, and a subject that blocks its threads does not block the tap.
    ///
    /// `setting` is told the tap's own port; `serve` serves one client.
    pub(crate) fn open<F>(
        runtime: &Handle,
        (host, port): (&str, u16),
        setting: impl FnOnce(u16) -> P::Setting,
        serve: impl Fn(Arc<Shared<P>>, TcpStream, (String, u16)) -> F + Send + 'static,
    ) -> io::Result<Tap<P>>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let server = (host.to_owned(), port);
        let mut shared = None;
        let front = Front::open(runtime, |port| {
            let serving = shared.insert(Arc::new(Shared::new(setting(port)))).clone();
            move |client| serve(serving.clone(), client, server.clone())
        })?;
        match shared {
            Some(shared) => Ok(Tap { shared, front }),
            None => unreachable!("a front that is open has asked how to serve"),
        }
    }

    /// The port on which it is reached, on loopback.
    pub fn port(&self) -> u16 {
        self.front.port()
    }

    /// What has passed until now.
    pub fn counts(&self) -> P::Counts {
        let mut books = self.shared.books();
        P::catch_up(&mut books);
        P::counts(&books).clone()
    }

    /// Waits until the counts fulfil a condition, woken by each message and not by a clock.
    ///
    /// # Errors
    /// `what` did not happen within the deadline, which grows while the machine is starved; the counts are the evidence.
    pub async fn until(
        &self,
        what: &str,
        deadline: Duration,
        fulfilled: impl Fn(&P::Counts) -> bool,
    ) -> Result<(), Failure> {
        let waiting = reached(&self.shared.changed, || {
            fulfilled(P::counts(&self.shared.books()))
        });
        patiently(deadline, waiting).await.map_err(|limit| {
            Failure::new(format!("{what} did not happen within {limit:?}"))
                .evidence(format!("seen by the tap: {:?}", P::counts(&self.shared.books())))
        })
    }

    /// Puts a rule in force for as long as the guard lives.
    pub fn rule(&self, rule: Rule<P>) -> RuleGuard {
        self.shared.rules.install(rule)
    }

    /// Holds the requests that match before they reach the server.
    pub fn hold_requests(
        &self,
        pred: impl for<'a> Fn(&P::Request<'a>) -> bool + Send + Sync + 'static,
    ) -> Gate {
        self.on_requests(pred, Verdict::Hold)
    }

    /// Holds the answers to requests that match: the server has done it, and the client does not know.
    pub fn hold_replies(
        &self,
        pred: impl for<'a> Fn(&P::Request<'a>) -> bool + Send + Sync + 'static,
    ) -> Gate {
        self.on_replies(pred, Verdict::Hold)
    }

    /// Breaks the connection instead of passing a request that matches.
    pub fn cut_before(
        &self,
        pred: impl for<'a> Fn(&P::Request<'a>) -> bool + Send + Sync + 'static,
    ) -> RuleGuard {
        self.on_requests(pred, Verdict::Cut(When::Before))
    }

    /// Passes the request that matches, and breaks the connection at once: the client never hears.
    pub fn cut_after(
        &self,
        pred: impl for<'a> Fn(&P::Request<'a>) -> bool + Send + Sync + 'static,
    ) -> RuleGuard {
        self.on_requests(pred, Verdict::Cut(When::After))
    }

    /// Passes the request that matches, waits until the server has done it, loses the answer, and breaks the connection.
    pub fn lose_reply(
        &self,
        pred: impl for<'a> Fn(&P::Request<'a>) -> bool + Send + Sync + 'static,
    ) -> RuleGuard {
        self.on_replies(pred, Verdict::Cut(When::Before))
    }

    /// Passes requests that match, and whatever comes after them on their connection, that much later.
    pub fn delay(
        &self,
        pred: impl for<'a> Fn(&P::Request<'a>) -> bool + Send + Sync + 'static,
        by: Duration,
    ) -> RuleGuard {
        self.on_requests(pred, Verdict::Delay(by))
    }

    /// Breaks the connection instead of passing the `k`-th request from now, from 1; see [`Tap::on_frame`].
    pub fn cut_at_frame(&self, k: u64) -> RuleGuard {
        let nth = Nth::new(k);
        self.on_requests(move |request| nth.is::<P>(request), Verdict::Cut(When::Before))
    }

    /// Calls back when the `k`-th request of any client arrives from now, from 1, before it is passed on. Those that are
    /// no [step](Protocol::step) are not counted. The callback runs on the tap's thread and must not block.
    pub fn on_frame(&self, k: u64, callback: impl FnOnce() + Send + 'static) -> RuleGuard {
        let nth = Nth::new(k);
        let callback = Mutex::new(Some(callback));
        self.rule(Rule::on_request(move |request| {
            if nth.is::<P>(request)
                && let Some(callback) = callback.lock().unwrap_or_else(PoisonError::into_inner).take()
            {
                callback();
            }
            Verdict::Pass
        }))
    }

    /// Reports to a sweep: each request, and each answer to one, is a point where it is a [step](Protocol::step).
    pub fn report_to(&self, points: &Points) -> (RuleGuard, RuleGuard) {
        let point = |points: &Points, whose: &str, step: Option<String>| match step {
            Some(step) => Verdict::Point(points.clone(), format!("{whose} {step}")),
            None => Verdict::Pass,
        };
        let (to_requests, to_replies) = (points.clone(), points.clone());
        let requests = self.rule(Rule::on_request(move |request| {
            point(&to_requests, "client's", P::step(request))
        }));
        let replies = self.rule(Rule::on_reply(move |reply| {
            point(&to_replies, "answer to", P::step_back(reply))
        }));
        (requests, replies)
    }

    /// Closes every new connection as soon as it is accepted, as long as the guard lives. Those that exist go on; see
    /// [`Tap::cut_all`].
    pub fn refuse(&self) -> LinkGuard {
        LinkGuard::raise(&self.shared.link, |link| &mut link.refused)
    }

    /// Passes nothing in either direction, as long as the guard lives: connections are accepted and never answered,
    /// and those that exist fall silent. What was sent in the meantime passes afterwards.
    pub fn black_hole(&self) -> LinkGuard {
        LinkGuard::raise(&self.shared.link, |link| &mut link.silent)
    }

    /// Breaks every connection. What was passed on is done by the server.
    pub fn cut_all(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn on_requests(
        &self,
        pred: impl for<'a> Fn(&P::Request<'a>) -> bool + Send + Sync + 'static,
        verdict: Verdict,
    ) -> RuleGuard {
        self.rule(Rule::on_request(move |request| match pred(request) {
            true => verdict.clone(),
            false => Verdict::Pass,
        }))
    }

    fn on_replies(
        &self,
        pred: impl for<'a> Fn(&P::Request<'a>) -> bool + Send + Sync + 'static,
        verdict: Verdict,
    ) -> RuleGuard {
        self.rule(Rule::on_reply(move |reply| match pred(P::asked(reply)) {
            true => verdict.clone(),
            false => Verdict::Pass,
        }))
    }
}

/// Recognises the k-th request of any client.
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

    fn is<P: Protocol>(&self, request: &P::Request<'_>) -> bool {
        P::step(request).is_some() && self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.k
    }
}
