//! A tap: a proxy between the subject and the real server that understands what passes.

use super::counts::{Counts, Statement};
use super::rule::{Kind, Reply, Request, Rule};
use super::session::Session;
use super::shared::Shared;
use super::wire;
use crate::Failure;
use crate::sweep::Points;
use crate::tap::{Front, Gate, LinkGuard, RuleGuard, Verdict, When, reached};
use crate::wait::patiently;
use pgwire::Config;
use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// A front of one PostgreSQL database: subjects connect to [`PgTap::url`], and everything that passes is counted and
/// can be disturbed. Dropping it closes its port and breaks what is connected.
///
/// Costs: one task and two sockets for each connection, on the runtime that it was started on; a few microseconds of
/// latency per round trip; bulk data is forwarded in chunks of 64 KiB. Every statement's text is kept until the tap
/// ends, so a load of millions of statements is better counted than logged.
///
/// Subjects must not ask for TLS (`sslmode=disable` is in the URL; a TLS request is declined).
#[derive(Debug)]
pub struct PgTap {
    shared: Arc<Shared>,
    subject: Config,
    _front: Front,
}

impl PgTap {
    /// Starts a tap in front of `server`, whose user, password and database are the subject's. It runs on `runtime`,
    /// which should be the harness's own: then nothing of it counts as the subject's, and a subject that blocks its
    /// threads does not block the tap.
    pub fn start(runtime: &Handle, server: &Config) -> io::Result<PgTap> {
        let shared = Arc::new(Shared::new());
        let (serving, behind) = (shared.clone(), (server.host.clone(), server.port));
        let front = Front::open(runtime, move |client| {
            wire::serve(serving.clone(), client, behind.clone())
        })?;
        let subject = Config {
            host: "127.0.0.1".to_owned(),
            port: front.port(),
            ..server.clone()
        };
        Ok(PgTap {
            shared,
            subject,
            _front: front,
        })
    }

    /// What the subject is given.
    pub fn url(&self) -> String {
        let Config {
            host,
            port,
            user,
            password,
            database,
        } = &self.subject;
        format!("postgres://{user}:{password}@{host}:{port}/{database}?sslmode=disable")
    }

    /// The same for [`pgwire::Client`].
    pub fn config(&self) -> &Config {
        &self.subject
    }

    /// What has passed until now. Costs a system call and a copy.
    pub fn counts(&self) -> Counts {
        let mut books = self.shared.books();
        books.see_hang_ups();
        books.counts.clone()
    }

    /// Forgets the peaks, so that they tell of what comes from now on.
    pub fn reset_peaks(&self) {
        let counts = &mut self.shared.books().counts;
        counts.connections_peak = counts.connections_open;
        counts.in_flight_peak = counts.in_flight;
    }

    /// Every statement that arrived to be run, in order.
    pub fn statements(&self) -> Vec<Statement> {
        self.shared.books().log.clone()
    }

    /// The statements that arrived after the first `n`.
    pub fn statements_after(&self, n: usize) -> Vec<Statement> {
        self.shared
            .books()
            .log
            .get(n..)
            .map(<[_]>::to_vec)
            .unwrap_or_default()
    }

    /// The server processes of the sessions that were made through this tap, ended ones included.
    pub fn pids(&self) -> HashSet<i32> {
        self.shared.books().pids.clone()
    }

    /// What is under way on each connection, in a line each. For the last words of a check: what is busy at this moment
    /// is passed over rather than waited for.
    pub(super) fn standing(&self) -> Vec<String> {
        let sessions: Vec<_> = self.shared.books().sessions.values().cloned().collect();
        let told = |session: &Arc<Mutex<Session>>| session.try_lock().ok()?.standing();
        sessions.iter().filter_map(told).collect()
    }

    /// How many startup packets were passed on, and how many of them led to a session as far as the server told.
    pub(super) fn sessions_begun(&self) -> (u64, u64) {
        let books = self.shared.books();
        (books.sessions_begun, books.sessions_established)
    }

    /// The types (by object id, 0 for none) that a driver declared for the parameters when it prepared this text.
    pub fn declared_types(&self, sql: &str) -> Option<Vec<u32>> {
        self.shared.books().declared.get(sql).cloned()
    }

    /// All texts that drivers have prepared, with the values that they bound last.
    #[cfg(feature = "binds")]
    pub fn bound(&self) -> Vec<(std::sync::Arc<str>, Vec<super::Bound>)> {
        let books = self.shared.books();
        let bound = books.bound.iter();
        bound.map(|(sql, values)| (sql.clone(), values.clone())).collect()
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

    /// Holds the client's messages that match before they reach the server.
    pub fn hold_requests(&self, pred: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static) -> Gate {
        self.rule(Rule::on_request(move |request| {
            if pred(request) {
                Verdict::Hold
            } else {
                Verdict::Pass
            }
        }))
    }

    /// Holds the answers to messages that match: the server has done it, and the client does not know.
    pub fn hold_replies(&self, pred: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static) -> Gate {
        self.rule(Rule::on_reply(move |r| {
            if pred(&r.request) {
                Verdict::Hold
            } else {
                Verdict::Pass
            }
        }))
    }

    /// Breaks the connection instead of passing a message that matches.
    pub fn cut_before(&self, pred: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static) -> RuleGuard {
        self.rule(Rule::on_request(move |r| {
            if pred(r) {
                Verdict::Cut(When::Before)
            } else {
                Verdict::Pass
            }
        }))
    }

    /// Passes the message that matches, waits until the server has done it, loses the answer, and breaks the
    /// connection.
    pub fn lose_reply(&self, pred: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static) -> RuleGuard {
        self.rule(Rule::on_reply(move |r| {
            if pred(&r.request) {
                Verdict::Cut(When::Before)
            } else {
                Verdict::Pass
            }
        }))
    }

    /// Passes messages that match, and whatever comes after them on their connection, that much later.
    pub fn delay(
        &self,
        pred: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static,
        by: Duration,
    ) -> RuleGuard {
        self.rule(Rule::on_request(move |r| {
            if pred(r) {
                Verdict::Delay(by)
            } else {
                Verdict::Pass
            }
        }))
    }

    /// Breaks the connection instead of passing the `k`-th message from now, from 1; see [`PgTap::on_frame`].
    pub fn cut_at_frame(&self, k: u64) -> RuleGuard {
        let nth = Nth::new(k);
        self.rule(Rule::on_request(move |r| {
            if nth.is(r) {
                Verdict::Cut(When::Before)
            } else {
                Verdict::Pass
            }
        }))
    }

    /// Calls back when the `k`-th message of any client arrives from now, from 1, before it is passed on. Startup
    /// packets, passwords, pings and goodbyes are not counted. The callback runs on the tap's thread and must not block.
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

    /// Reports to a sweep: each message of a client, and each round trip's answer, is a point. Pings are none: a pool
    /// sends them when it likes.
    pub fn report_to(&self, points: &Points) -> (RuleGuard, RuleGuard) {
        let (to_requests, to_replies) = (points.clone(), points.clone());
        let requests = self.rule(Rule::on_request(move |request| {
            if !Nth::counts(request) {
                return Verdict::Pass;
            }
            Verdict::Point(to_requests.clone(), format!("client's {}", told(request)))
        }));
        let replies = self.rule(Rule::on_reply(move |Reply { request, begins_trip }| {
            if !begins_trip || matches!(request.kind, Kind::Startup | Kind::Ping) {
                return Verdict::Pass;
            }
            Verdict::Point(to_replies.clone(), format!("answer to {}", told(request)))
        }));
        (requests, replies)
    }

    /// Closes every new connection as soon as it is accepted, as long as the guard lives. Those that exist go on; see
    /// [`PgTap::cut_all`].
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
}

/// Recognises the k-th message of any client.
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

    fn counts(request: &Request<'_>) -> bool {
        !matches!(
            request.kind,
            Kind::Startup | Kind::Password | Kind::Ping | Kind::Terminate
        )
    }

    fn is(&self, request: &Request<'_>) -> bool {
        Nth::counts(request) && self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.k
    }
}

/// A message in a few words.
fn told(request: &Request<'_>) -> String {
    const SQL_CHARS_MAX: usize = 60;
    let Some(sql) = request.sql else {
        return format!("{:?}", request.kind);
    };
    let words: Vec<&str> = sql.split_whitespace().collect();
    let line = words.join(" ");
    let mut shown: String = line.chars().take(SQL_CHARS_MAX).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    format!("{:?} `{shown}`", request.kind)
}
