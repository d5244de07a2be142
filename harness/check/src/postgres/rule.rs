//! Faults as rules: what a tap does with a message before passing it on.
//!
//! A rule is asked about every message of a client, or about every answer of the server, and decides by a [`Verdict`].
//! Rules are asked in the order they were installed; the first that does not let the message pass decides, and when it
//! lets go of it the later ones are asked. A rule lives as long as its [`RuleGuard`]. Messages of one connection never
//! overtake each other.

use super::gate::{Fate, Gated};
use crate::Failure;
use crate::sweep::Points;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

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

/// What is to become of a message.
#[derive(Debug, Clone)]
pub enum Verdict {
    Pass,
    /// Wait at the rule's gate. An answer waits there once the server has said all that belongs to its round trip, so
    /// what is waiting has been done. Whatever comes after it on the same connection waits behind it.
    Hold,
    Delay(Duration),
    /// Break the connection. The client's side is closed at once; the server reads what was passed on, then the end.
    /// An answer is lost ([`When::Before`]) only after the server has said all of it.
    Cut(When),
    /// Nothing passes on this connection any more, and nobody is told.
    Silence,
    /// A place at which a sweep may disturb the run.
    Point(Points, String),
}

/// On which side of a message a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The message is lost.
    Before,
    /// The message arrives.
    After,
}

type OnRequest = dyn Fn(&Request<'_>) -> Verdict + Send + Sync;
type OnReply = dyn Fn(&Reply<'_>) -> Verdict + Send + Sync;

/// Decides about messages. Called on the tap's thread: it must not block, nor call the tap.
pub struct Rule(Ask);

enum Ask {
    Request(Box<OnRequest>),
    Reply(Box<OnReply>),
}

impl Rule {
    /// A rule that is asked about each message of a client when it has arrived.
    pub fn on_request(decide: impl Fn(&Request<'_>) -> Verdict + Send + Sync + 'static) -> Rule {
        Rule(Ask::Request(Box::new(decide)))
    }

    /// A rule that is asked about each answer when the first of it has arrived.
    pub fn on_reply(decide: impl Fn(&Reply<'_>) -> Verdict + Send + Sync + 'static) -> Rule {
        Rule(Ask::Reply(Box::new(decide)))
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Ask::Request(_) => "Rule::on_request(…)",
            Ask::Reply(_) => "Rule::on_reply(…)",
        })
    }
}

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

/// Keeps a rule in force, and opens its gate. Dropping it removes the rule and lets go of whatever it holds.
#[must_use = "dropping it removes the rule"]
#[derive(Debug)]
pub struct RuleGuard {
    rules: Weak<Rules>,
    id: u64,
    gate: Arc<Gated>,
}

/// The guard of a rule that holds messages.
pub type Gate = RuleGuard;

impl RuleGuard {
    /// How many messages this rule did not simply let pass, so far.
    pub fn matched(&self) -> usize {
        self.gate.matched()
    }

    /// How many messages wait at this rule's gate now.
    pub fn waiting(&self) -> usize {
        self.gate.waiting()
    }

    /// Waits until this rule has decided about `n` messages since it was installed.
    pub async fn until_matched(&self, n: usize, deadline: Duration) -> Result<(), Failure> {
        self.gate
            .until("messages reached the rule", n, deadline, Gated::matched)
            .await
    }

    /// Waits until at least `n` messages wait at the gate at one time.
    pub async fn until_waiting(&self, n: usize, deadline: Duration) -> Result<(), Failure> {
        self.gate
            .until("messages waited at the gate", n, deadline, Gated::waiting)
            .await
    }

    /// Lets the message that has waited longest pass; `false` when none waits.
    pub fn release_one(&self) -> bool {
        self.gate.release_one()
    }

    /// Lets every waiting message pass, and every later one.
    pub fn open(&self) {
        self.gate.open();
    }
}

impl Drop for RuleGuard {
    fn drop(&mut self) {
        if let Some(rules) = self.rules.upgrade() {
            rules.remove(self.id);
        }
        self.gate.open();
    }
}

/// The rules of one tap.
#[derive(Debug, Default)]
pub(super) struct Rules {
    list: RwLock<Arc<[Entry]>>,
    last: AtomicU64,
}

#[derive(Debug, Clone)]
struct Entry {
    id: u64,
    rule: Arc<Rule>,
    gate: Arc<Gated>,
}

/// What the rules decided; `rule` is where to go on asking afterwards.
#[derive(Debug)]
pub(super) enum Decision {
    Pass,
    Wait { rule: u64, place: Place },
    Delay { rule: u64, for_: Duration },
    Cut(When),
    Silence,
}

/// Where a message waits.
#[derive(Debug)]
pub(super) enum Place {
    Gate(Arc<Gated>),
    Point(Points, String),
}

impl Place {
    /// Takes a place in the queue; `None` when there is nothing to wait for.
    pub fn enter(self) -> Option<oneshot::Receiver<Fate>> {
        match self {
            Place::Gate(gate) => gate.enter(),
            Place::Point(points, label) => points.visit(label),
        }
    }
}

impl Rules {
    pub fn install(self: &Arc<Rules>, rule: Rule) -> RuleGuard {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let gate = Arc::new(Gated::default());
        let entry = Entry {
            id,
            rule: Arc::new(rule),
            gate: gate.clone(),
        };
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        *list = list.iter().cloned().chain([entry]).collect();
        RuleGuard {
            rules: Arc::downgrade(self),
            id,
            gate,
        }
    }

    fn remove(&self, id: u64) {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        *list = list.iter().filter(|entry| entry.id != id).cloned().collect();
    }

    /// Asks the rules that came after `asked`.
    pub fn request(&self, request: &Request<'_>, asked: u64) -> Decision {
        self.decide(asked, |rule| match &rule.0 {
            Ask::Request(decide) => decide(request),
            Ask::Reply(_) => Verdict::Pass,
        })
    }

    /// Asks the rules that came after `asked`.
    pub fn reply(&self, reply: &Reply<'_>, asked: u64) -> Decision {
        self.decide(asked, |rule| match &rule.0 {
            Ask::Reply(decide) => decide(reply),
            Ask::Request(_) => Verdict::Pass,
        })
    }

    fn decide(&self, asked: u64, ask: impl Fn(&Rule) -> Verdict) -> Decision {
        // A copy, so that a rule's closure runs without the lock.
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner).clone();
        for Entry { id, rule, gate } in list.iter().filter(|entry| entry.id > asked) {
            let decision = match ask(rule) {
                Verdict::Pass => continue,
                Verdict::Hold => Decision::Wait {
                    rule: *id,
                    place: Place::Gate(gate.clone()),
                },
                Verdict::Point(points, label) => Decision::Wait {
                    rule: *id,
                    place: Place::Point(points, label),
                },
                Verdict::Delay(for_) => Decision::Delay { rule: *id, for_ },
                Verdict::Cut(when) => Decision::Cut(when),
                Verdict::Silence => Decision::Silence,
            };
            gate.match_one();
            return decision;
        }
        Decision::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let rules = Arc::new(Rules::default());
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
        let Decision::Delay { rule, .. } = rules.request(&insert, 0) else {
            panic!("not delayed")
        };
        assert!(matches!(rules.request(&insert, rule), Decision::Wait { .. }));
        assert!(matches!(
            rules.request(&request("SELECT 2"), 0),
            Decision::Wait { .. }
        ));
        assert_eq!((delay.matched(), hold.matched()), (1, 2));
        drop(hold);
        assert!(matches!(rules.request(&insert, rule), Decision::Pass));
        drop(delay);
        assert!(matches!(rules.request(&insert, 0), Decision::Pass));
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
