//! ZooKeeper's requests as rules see them.

use crate::tap::{self, Protocol, Verdict};

/// A client's request, as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The connection's number, from 1 in order of arrival at the tap.
    pub connection: u64,
    /// As in `create2`.
    pub op: &'a str,
    /// The first path in it; empty where there is none.
    pub path: &'a str,
    /// Whether it asks for something, and is not about the connection or the session.
    pub question: bool,
}

/// The answer to a client's request, as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    pub request: Request<'a>,
}

/// ZooKeeper, as its taps' rules see it.
#[derive(Debug)]
pub enum Zab {}

impl Protocol for Zab {
    type Request<'a> = Request<'a>;
    type Reply<'a> = Reply<'a>;
}

/// Decides about requests. Called on the tap's thread: it must not block, nor call the tap.
pub type Rule = tap::Rule<Zab>;

impl Rule {
    /// A rule that is asked about each request when it has arrived; not about the one that opens a connection.
    pub fn on_request(decide: impl Fn(&Request<'_>) -> Verdict + Send + Sync + 'static) -> Rule {
        Rule::asked_about_requests(Box::new(decide))
    }

    /// A rule that is asked about each answer when it has arrived; not about what a server says unasked.
    pub fn on_reply(decide: impl Fn(&Reply<'_>) -> Verdict + Send + Sync + 'static) -> Rule {
        Rule::asked_about_replies(Box::new(decide))
    }
}
