//! Redis' commands as rules see them.

use super::counts::Counts;
use super::shared::Books;
use crate::tap::{self, Protocol};
use bytes::Bytes;

/// A client's command, as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The connection's number, from 1 in order of arrival at the tap.
    pub connection: u64,
    /// The command's number within its connection, from 1.
    pub frame: u64,
    /// In capitals.
    pub name: &'a str,
    /// The name as it was sent, and the arguments.
    pub args: &'a [Bytes],
    /// Whether it works with data; see [`Counts::commands`](super::Counts::commands).
    pub data: bool,
}

/// The reply to a client's command, as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    pub request: Request<'a>,
}

impl Request<'_> {
    /// Whether the command has that name, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether any argument contains `needle`, in any case of its ASCII letters.
    pub fn mentions(&self, needle: &str) -> bool {
        needle.is_empty()
            || self.args.iter().skip(1).any(|arg| {
                arg.windows(needle.len())
                    .any(|part| part.eq_ignore_ascii_case(needle.as_bytes()))
            })
    }
}

/// Redis, as its taps' rules see it.
#[derive(Debug)]
pub enum Resp {}

impl Protocol for Resp {
    type Request<'a> = Request<'a>;
    type Reply<'a> = Reply<'a>;
    type Counts = Counts;
    type Books = Books;
    type Setting = ();

    fn asked<'a: 'r, 'r>(reply: &'r Reply<'a>) -> &'r Request<'a> {
        &reply.request
    }

    fn step(request: &Request<'_>) -> Option<String> {
        request.data.then(|| request.name.to_owned())
    }

    fn counts(books: &Books) -> &Counts {
        &books.counts
    }
}

/// Decides about commands. Called on the tap's thread: it must not block, nor call the tap.
pub type Rule = tap::Rule<Resp>;
