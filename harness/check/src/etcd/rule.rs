//! Requests of the gateway as rules see them.

use super::tap::Counts;
use crate::tap::{self, Protocol};

const SIGN_OF_LIFE: &str = "/v3/lease/keepalive";

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
    type Counts = Counts;
    type Books = Counts;
    type Setting = ();

    fn asked<'a: 'r, 'r>(reply: &'r Reply<'a>) -> &'r Request<'a> {
        &reply.request
    }

    /// The signs of life of a lease come when their time is, and not where the operation is.
    fn step(request: &Request<'_>) -> Option<String> {
        (request.path != SIGN_OF_LIFE).then(|| request.path.to_owned())
    }

    fn counts(books: &Counts) -> &Counts {
        books
    }
}

/// Decides about requests. Called on the tap's thread: it must not block, nor call the tap.
pub type Rule = tap::Rule<Rest>;
