//! PostgreSQL's messages as rules see them.

use super::counts::Counts;
use super::shared::Books;
use crate::tap::{self, Protocol};
use pgwire::Config;

/// What kind of message a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The packet that opens a session; its answer ends when the server is ready.
    Startup,
    Password,
    Parse,
    Bind,
    Describe,
    Execute,
    Close,
    /// The end of a round trip; the server commits here what was not in a transaction.
    Sync,
    /// A Sync with nothing before it, or a simple query without a statement.
    Ping,
    Flush,
    /// One or more statements by the simple protocol.
    Query,
    CopyData,
    CopyDone,
    CopyFail,
    FunctionCall,
    Terminate,
    Other,
}

/// A client's message, as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The connection's number, from 1 in order of arrival at the tap.
    pub connection: u64,
    /// The message's number within its connection, from 1; 0 for the startup packet.
    pub frame: u64,
    pub kind: Kind,
    /// The SQL that it carries or that it names, where it does.
    pub sql: Option<&'a str>,
    /// Whether that SQL reads or changes data (for a simple query: whether any of it does).
    pub data: bool,
}

/// The answer to a client's message, as a rule sees it: all of it, from its first message to its last.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    pub request: Request<'a>,
    /// Whether it is the first answer of a round trip, so that holding it keeps the whole of that trip's answers.
    pub begins_trip: bool,
}

/// PostgreSQL, as its taps' rules see it.
#[derive(Debug)]
pub enum Pg {}

impl Protocol for Pg {
    type Request<'a> = Request<'a>;
    type Reply<'a> = Reply<'a>;
    type Counts = Counts;
    type Books = Books;
    /// What the subject is given.
    type Setting = Config;

    fn asked<'a: 'r, 'r>(reply: &'r Reply<'a>) -> &'r Request<'a> {
        &reply.request
    }

    /// Startup packets, passwords, pings and goodbyes are none: a pool sends them when it likes.
    fn step(request: &Request<'_>) -> Option<String> {
        let aside = matches!(
            request.kind,
            Kind::Startup | Kind::Password | Kind::Ping | Kind::Terminate
        );
        (!aside).then(|| request.told())
    }

    /// Each round trip's answer is one.
    fn step_back(Reply { request, begins_trip }: &Reply<'_>) -> Option<String> {
        let aside = !begins_trip || matches!(request.kind, Kind::Startup | Kind::Ping);
        (!aside).then(|| request.told())
    }

    fn counts(books: &Books) -> &Counts {
        &books.counts
    }

    fn catch_up(books: &mut Books) {
        books.see_hang_ups();
    }
}

/// Decides about messages. Called on the tap's thread: it must not block, nor call the tap.
pub type Rule = tap::Rule<Pg>;

impl Request<'_> {
    /// Whether this message runs SQL (an Execute or a simple query) that contains `needle`, in any case.
    pub fn runs(&self, needle: &str) -> bool {
        matches!(self.kind, Kind::Execute | Kind::Query) && self.mentions(needle)
    }

    /// Whether this message runs a statement that reads or changes data.
    pub fn runs_data(&self) -> bool {
        matches!(self.kind, Kind::Execute | Kind::Query) && self.data
    }

    /// Whether the SQL that this message carries or names contains `needle`, in any case of its ASCII letters.
    pub fn mentions(&self, needle: &str) -> bool {
        self.sql.is_some_and(|sql| {
            needle.is_empty()
                || sql
                    .as_bytes()
                    .windows(needle.len())
                    .any(|part| part.eq_ignore_ascii_case(needle.as_bytes()))
        })
    }

    /// This message in a few words.
    fn told(&self) -> String {
        const SQL_CHARS_MAX: usize = 60;
        let Some(sql) = self.sql else {
            return format!("{:?}", self.kind);
        };
        let words: Vec<&str> = sql.split_whitespace().collect();
        let line = words.join(" ");
        let mut shown: String = line.chars().take(SQL_CHARS_MAX).collect();
        if shown.len() < line.len() {
            shown.push('…');
        }
        format!("{:?} `{shown}`", self.kind)
    }
}

impl Kind {
    pub(super) fn of(request: &pgwire::Request<'_>) -> Kind {
        match request {
            pgwire::Request::Query { .. } => Kind::Query,
            pgwire::Request::Parse { .. } => Kind::Parse,
            pgwire::Request::Bind { .. } => Kind::Bind,
            pgwire::Request::Describe(_) => Kind::Describe,
            pgwire::Request::Execute { .. } => Kind::Execute,
            pgwire::Request::Close(_) => Kind::Close,
            pgwire::Request::Sync => Kind::Sync,
            pgwire::Request::Flush => Kind::Flush,
            pgwire::Request::CopyData => Kind::CopyData,
            pgwire::Request::CopyDone => Kind::CopyDone,
            pgwire::Request::CopyFail => Kind::CopyFail,
            pgwire::Request::Password => Kind::Password,
            pgwire::Request::FunctionCall => Kind::FunctionCall,
            pgwire::Request::Terminate => Kind::Terminate,
            pgwire::Request::Other(_) => Kind::Other,
        }
    }

    /// Whether a server's message with that tag is the last that answers this one.
    pub(super) fn ends_with(self, tag: u8) -> bool {
        match self {
            Kind::Startup | Kind::Query | Kind::Sync | Kind::Ping | Kind::FunctionCall => tag == b'Z',
            Kind::Parse => tag == b'1',
            Kind::Bind => tag == b'2',
            Kind::Close => tag == b'3',
            Kind::Describe => matches!(tag, b'T' | b'n'),
            Kind::Execute => matches!(tag, b'C' | b'I' | b's'),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::{Decision, Hold, Pass, Rules, Verdict};
    use std::sync::Arc;
    use std::time::Duration;

    fn request(sql: &str) -> Request<'_> {
        Request {
            connection: 1,
            frame: 1,
            kind: Kind::Execute,
            sql: Some(sql),
            data: true,
        }
    }

    #[test]
    fn the_first_rule_that_does_not_pass_decides_and_later_ones_are_asked_after_it() {
        let rules = Arc::new(Rules::<Pg>::default());
        let delay = rules.install(Rule::on_request(|r| {
            if r.runs("insert") {
                Verdict::Delay(Duration::from_millis(1))
            } else {
                Verdict::Pass
            }
        }));
        let hold = rules.install(Rule::on_request(|_| Verdict::Hold));
        let _replies = rules.install(Rule::on_reply(|_| Verdict::Silence));
        let insert = request("INSERT INTO t VALUES (1)");
        let Decision::Held {
            rule,
            by: Hold::Time(_),
        } = rules.request(&insert, 0)
        else {
            panic!("not delayed")
        };
        let at_the_gate = |decision| {
            matches!(
                decision,
                Decision::Held {
                    by: Hold::Gate(_),
                    ..
                }
            )
        };
        assert!(at_the_gate(rules.request(&insert, rule)));
        assert!(at_the_gate(rules.request(&request("SELECT 2"), 0)));
        assert_eq!((delay.matched(), hold.matched()), (1, 2));
        drop(hold);
        let passes = |decision| matches!(decision, Decision::Settled(Pass::On));
        assert!(passes(rules.request(&insert, rule)));
        drop(delay);
        assert!(passes(rules.request(&insert, 0)));
    }

    #[test]
    fn statements_are_found_in_any_case() {
        assert!(request("commit").runs("COMMIT"));
        assert!(!request("SELECT 2").runs("commit"));
        assert!(
            !Request {
                sql: None,
                ..request("")
            }
            .runs("")
        );
        assert!(
            !Request {
                kind: Kind::Parse,
                ..request("COMMIT")
            }
            .runs("commit")
        );
    }
}
