//! A tap: a proxy between the subject and the real server that understands what passes.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::counts::Counts;
use super::operation::Request;
use super::partition::Partitions;
use super::refusal::{Refusal, RefusalGuard, Refusals};
use super::wire;
use crate::Failure;
use crate::tap::{self, Front, Gate, Protocol, RuleGuard, Rules, Verdict, When, reached};
use crate::wait::patiently;

/// DynamoDB, as its taps' rules see it: both a request and the answer to it by what was asked.
#[derive(Debug)]
pub enum Json {}

impl Protocol for Json {
    type Request<'a> = Request;
    type Reply<'a> = Request;
}

/// Decides about requests and their answers. Called on the tap's thread: it must not block, nor call the tap.
pub type Rule = tap::Rule<Json>;

impl Rule {
    /// A rule that is asked about each request when it has arrived.
    pub fn on_request(decide: impl Fn(&Request) -> Verdict + Send + Sync + 'static) -> Rule {
        Rule::asked_about_requests(Box::new(decide))
    }

    /// A rule that is asked about each answer of the server when it has arrived.
    pub fn on_answer(decide: impl Fn(&Request) -> Verdict + Send + Sync + 'static) -> Rule {
        Rule::asked_about_replies(Box::new(decide))
    }
}

/// A front of one DynamoDB server: subjects connect to [`DynamoTap::url`], and everything that passes is counted, charged
/// and can be disturbed. Dropping it closes its port and breaks what is connected.
///
/// Costs: one task and two sockets for each connection, on the runtime that it was started on, and parsing each body once.
/// Cannot see: the size of items that a query only counts, and what `Scan` and PartiQL touch, which it takes for one key.
/// A transaction that has nothing left is refused with the error of a single write.
#[derive(Debug)]
pub struct DynamoTap {
    shared: Arc<Shared>,
    front: Front,
}

/// What the connections of one tap share.
#[derive(Debug)]
pub(super) struct Shared {
    pub rules: Arc<Rules<Json>>,
    pub refusals: Arc<Refusals>,
    pub partitions: Partitions,
    /// The name of the tables' partition key.
    pub hash_key: String,
    books: Mutex<Books>,
    pub changed: Notify,
    /// Counts the calls to cut everything that is connected.
    pub cuts: watch::Sender<u64>,
    pub numbers: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Books {
    pub counts: Counts,
    pub log: Vec<Request>,
}

impl Shared {
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the books and tells those who wait for them.
    pub fn note<T>(&self, change: impl FnOnce(&mut Books) -> T) -> T {
        let result = change(&mut self.books());
        self.changed.notify_waiters();
        result
    }
}

impl DynamoTap {
    /// Starts a tap in front of the server at `host` and `port`, on `runtime`, which should be the harness's own.
    pub(super) fn start(
        runtime: &Handle,
        host: &str,
        port: u16,
        hash_key: &str,
        partitions: &Partitions,
    ) -> io::Result<DynamoTap> {
        let shared = Arc::new(Shared {
            rules: Arc::default(),
            refusals: Arc::default(),
            partitions: partitions.clone(),
            hash_key: hash_key.to_owned(),
            books: Mutex::default(),
            changed: Notify::new(),
            cuts: watch::Sender::new(0),
            numbers: AtomicU64::new(0),
        });
        let (serving, server) = (shared.clone(), (host.to_owned(), port));
        let front = Front::open(runtime, move |client| {
            wire::serve(serving.clone(), client, server.clone())
        })?;
        Ok(DynamoTap { shared, front })
    }

    /// What the subject is given.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.front.port())
    }

    /// What has passed until now.
    pub fn counts(&self) -> Counts {
        self.shared.books().counts.clone()
    }

    /// The requests for items that arrived after the first `n`, in order.
    pub fn requests_after(&self, n: usize) -> Vec<Request> {
        let books = self.shared.books();
        books.log.get(n..).map(<[_]>::to_vec).unwrap_or_default()
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

    /// Holds requests that match before they reach the server.
    pub fn hold_requests(&self, pred: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Gate {
        self.rule(Rule::on_request(given(pred, Verdict::Hold)))
    }

    /// Holds the answers to requests that match: the server has done it, and the client does not know.
    pub fn hold_answers(&self, pred: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Gate {
        self.rule(Rule::on_answer(given(pred, Verdict::Hold)))
    }

    /// Passes the request that matches, waits until the server has done it, loses the answer, and breaks the connection.
    pub fn lose_answer(&self, pred: impl Fn(&Request) -> bool + Send + Sync + 'static) -> RuleGuard {
        self.rule(Rule::on_answer(given(pred, Verdict::Cut(When::Before))))
    }

    /// Answers requests itself, instead of the server, where `decide` says so.
    pub fn refuse(
        &self,
        decide: impl Fn(&Request) -> Option<Refusal> + Send + Sync + 'static,
    ) -> RefusalGuard {
        self.shared.refusals.install(decide)
    }

    /// Refuses the `k`-th request for items from now, from 1, and no other.
    pub fn refuse_the(&self, k: u64, refusal: Refusal) -> RefusalGuard {
        let seen = AtomicU64::new(0);
        self.refuse(move |request| {
            let due = !request.accesses.is_empty() && seen.fetch_add(1, Ordering::SeqCst) + 1 == k;
            due.then(|| refusal.clone())
        })
    }

    /// Breaks every connection. What was passed on is done by the server.
    pub fn cut_all(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }
}

fn given(
    pred: impl Fn(&Request) -> bool + Send + Sync + 'static,
    verdict: Verdict,
) -> impl Fn(&Request) -> Verdict + Send + Sync + 'static {
    move |request| match pred(request) {
        true => verdict.clone(),
        false => Verdict::Pass,
    }
}
