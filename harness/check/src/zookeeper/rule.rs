//! ZooKeeper's requests as rules see them.

use super::tap::{Books, Counts};
use crate::tap::{self, Protocol};

/// A client's request, as a rule sees it; not what opens a connection.
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

/// The answer to a client's request, as a rule sees it; not what a server says unasked.
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
    type Counts = Counts;
    type Books = Books;
    type Setting = ();

    fn asked<'a: 'r, 'r>(reply: &'r Reply<'a>) -> &'r Request<'a> {
        &reply.request
    }

    fn step(request: &Request<'_>) -> Option<String> {
        request.question.then(|| request.op.to_owned())
    }

    fn counts(books: &Books) -> &Counts {
        &books.counts
    }
}

/// Decides about requests. Called on the tap's thread: it must not block, nor call the tap.
pub type Rule = tap::Rule<Zab>;
