//! Requests of the gateway as rules see them.

use crate::tap::{self, Protocol, Verdict};

/// A client's request, as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The connection's number, from 1 in order of arrival at the tap.
    pub connection: u64,
    /// As in `/v3/kv/txn`.
    pub path: &'a str,
    pub body: &'a [u8],
}

/// The answer to a client's request, as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    pub request: Request<'a>,
}

/// The gateway, as its taps' rules see it.
#[derive(Debug)]
pub enum Rest {}

impl Protocol for Rest {
    type Request<'a> = Request<'a>;
    type Reply<'a> = Reply<'a>;
}

/// Decides about requests. Called on the tap's thread: it must not block, nor call the tap.
pub type Rule = tap::Rule<Rest>;

impl Rule {
    /// A rule that is asked about each request when it has arrived.
    pub fn on_request(decide: impl Fn(&Request<'_>) -> Verdict + Send + Sync + 'static) -> Rule {
        Rule::asked_about_requests(Box::new(decide))
    }

    /// A rule that is asked about each answer when it has arrived; about one that never ends, when it has begun.
    pub fn on_reply(decide: impl Fn(&Reply<'_>) -> Verdict + Send + Sync + 'static) -> Rule {
        Rule::asked_about_replies(Box::new(decide))
    }
}
