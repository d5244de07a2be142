//! The tap of DynamoDB.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;

use super::counts::Counts;
use super::operation::Request;
use super::partition::Partitions;
use super::refusal::{Refusal, RefusalGuard, Refusals};
use super::wire;
use crate::tap::{self, Protocol, Tap};

/// DynamoDB, as its taps' rules see it: both a request and the answer to it by what was asked.
#[derive(Debug)]
pub enum Json {}

impl Protocol for Json {
    type Request<'a> = Request;
    type Reply<'a> = Request;
    type Counts = Counts;
    type Books = Books;
    type Setting = Setting;

    fn asked<'a: 'r, 'r>(reply: &'r Request) -> &'r Request {
        reply
    }

    fn step(request: &Request) -> Option<String> {
        (!request.accesses.is_empty()).then(|| request.operation.clone())
    }

    fn counts(books: &Books) -> &Counts {
        &books.counts
    }
}

/// Decides about requests and their answers. Called on the tap's thread: it must not block, nor call the tap.
pub type Rule = tap::Rule<Json>;

/// What a tap adds to the server.
#[derive(Debug)]
pub struct Setting {
    pub(super) refusals: Arc<Refusals>,
    pub(super) partitions: Partitions,
    /// The name of the tables' partition key.
    pub(super) hash_key: String,
    pub(super) numbers: AtomicU64,
}

/// Everything that is counted, under one lock.
#[derive(Debug, Default)]
pub struct Books {
    pub(super) counts: Counts,
    pub(super) log: Vec<Request>,
}

pub(super) type Shared = tap::Shared<Json>;

/// A front of one DynamoDB server: subjects connect to [`DynamoTap::url`], and everything that passes is charged as well.
///
/// Parses each body once. Cannot see: the size of items that a query only counts, and what `Scan` and PartiQL touch, which
/// it takes for one key. A transaction that has nothing left is refused with the error of a single write.
pub type DynamoTap = Tap<Json>;

impl DynamoTap {
    /// Starts a tap in front of the server at `host` and `port`, on `runtime`, which should be the harness's own.
    pub(super) fn start(
        runtime: &Handle,
        host: &str,
        port: u16,
        hash_key: &str,
        partitions: &Partitions,
    ) -> io::Result<DynamoTap> {
        let setting = Setting {
            refusals: Arc::default(),
            partitions: partitions.clone(),
            hash_key: hash_key.to_owned(),
            numbers: AtomicU64::new(0),
        };
        Tap::open(runtime, (host, port), |_| setting, wire::serve)
    }

    /// What the subject is given.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// The requests for items that arrived after the first `n`, in order.
    pub fn requests_after(&self, n: usize) -> Vec<Request> {
        let books = self.shared.books();
        books.log.get(n..).map(<[_]>::to_vec).unwrap_or_default()
    }

    /// Answers requests itself, instead of the server, where `decide` says so.
    pub fn answer_instead(
        &self,
        decide: impl Fn(&Request) -> Option<Refusal> + Send + Sync + 'static,
    ) -> RefusalGuard {
        self.shared.setting.refusals.install(decide)
    }

    /// Refuses the `k`-th request for items from now, from 1, and no other.
    pub fn refuse_the(&self, k: u64, refusal: Refusal) -> RefusalGuard {
        let seen = AtomicU64::new(0);
        self.answer_instead(move |request| {
            let due = !request.accesses.is_empty() && seen.fetch_add(1, Ordering::SeqCst) + 1 == k;
            due.then(|| refusal.clone())
        })
    }
}
