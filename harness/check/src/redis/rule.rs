//! Redis' commands as rules see them.

use crate::tap::{self, Protocol, Verdict};
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
}

/// Decides about commands. Called on the tap's thread: it must not block, nor call the tap.
pub type Rule = tap::Rule<Resp>;

impl Rule {
    /// A rule that is asked about each command when it has arrived.
    pub fn on_request(decide: impl Fn(&Request<'_>) -> Verdict + Send + Sync + 'static) -> Rule {
        Rule::asked_about_requests(Box::new(decide))
    }

    /// A rule that is asked about each reply when it has arrived.
    pub fn on_reply(decide: impl Fn(&Reply<'_>) -> Verdict + Send + Sync + 'static) -> Rule {
        Rule::asked_about_replies(Box::new(decide))
    }
}
