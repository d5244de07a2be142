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

/// What a tap's messages look like to its rules, and what it keeps of them.
pub trait Protocol: fmt::Debug + Sized + 'static {
    /// A client's message, as a rule sees it when all of it has arrived.
    type Request<'a>;
    /// The answer to one, as a rule sees it when it has arrived; when it has begun, where it may never end.
    type Reply<'a>;
    /// What passed through a tap since it was started.
    type Counts: Clone + fmt::Debug;
    /// Everything that is counted, under one lock.
    type Books: Default + fmt::Debug + Send + 'static;
    /// What a tap is told when it starts.
    type Setting: fmt::Debug + Send + Sync + 'static;

    /// What an answer answers.
    fn asked<'a: 'r, 'r>(reply: &'r Self::Reply<'a>) -> &'r Self::Request<'a>;

    /// A request in a few words, where a sweep may disturb the run at it: where it belongs to the operation, and does not
    /// come when its time is.
    fn step(request: &Self::Request<'_>) -> Option<String>;

    /// The same for an answer.
    fn step_back(reply: &Self::Reply<'_>) -> Option<String> {
        Self::step(Self::asked(reply))
    }

    fn counts(books: &Self::Books) -> &Self::Counts;

    /// Counts what has happened and was not read yet, before somebody looks.
    fn catch_up(_books: &mut Self::Books) {}
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

type OnRequest<P> = dyn for<'a> Fn(&<P as Protocol>::Request<'a>) -> Verdict + Send + Sync;
type OnReply<P> = dyn for<'a> Fn(&<P as Protocol>::Reply<'a>) -> Verdict + Send + Sync;

/// Decides about messages. Called on the tap's thread: it must not block, nor call the tap.
pub struct Rule<P: Protocol>(Ask<P>);

enum Ask<P: Protocol> {
    Request(Box<OnRequest<P>>),
    Reply(Box<OnReply<P>>),
}

impl<P: Protocol> Rule<P> {
    /// A rule that is asked about each request when it has arrived.
    pub fn on_request(
        decide: impl for<'a> Fn(&P::Request<'a>) -> Verdict + Send + Sync + 'static,
    ) -> Rule<P> {
        Rule(Ask::Request(Box::new(decide)))
    }

    /// A rule that is asked about each answer when it has arrived; about one that never ends, when it has begun.
    pub fn on_reply(decide: impl for<'a> Fn(&P::Reply<'a>) -> Verdict + Send + Sync + 'static) -> Rule<P> {
        Rule(Ask::Reply(Box::new(decide)))
    }
}

impl<P: Protocol> fmt::Debug for Rule<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Ask::Request(_) => "Rule::on_request(…)",
            Ask::Reply(_) => "Rule::on_reply(…)",
        })
    }
}

/// Keeps a rule in force, and opens its gate. Dropping it removes the rule and lets go of whatever it holds.
#[must_use = "dropping it removes the rule"]
#[derive(Debug)]
pub struct RuleGuard {
    rules: Weak<dyn Remove + Send + Sync>,
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

/// So that a guard need not know what kind of tap it belongs to.
trait Remove: fmt::Debug {
    fn remove(&self, id: u64);
}

/// The rules of one tap.
#[derive(Debug)]
pub(crate) struct Rules<P: Protocol> {
    list: RwLock<Arc<[Entry<P>]>>,
    last: AtomicU64,
}

#[derive(Debug)]
struct Entry<P: Protocol> {
    id: u64,
    rule: Arc<Rule<P>>,
    gate: Arc<Gated>,
}

impl<P: Protocol> Clone for Entry<P> {
    fn clone(&self) -> Self {
        Entry {
            id: self.id,
            rule: self.rule.clone(),
            gate: self.gate.clone(),
        }
    }
}

impl<P: Protocol> Default for Rules<P> {
    fn default() -> Self {
        Rules {
            list: RwLock::new(Arc::new([])),
            last: AtomicU64::new(0),
        }
    }
}

/// What the rules decided.
#[derive(Debug)]
pub(crate) enum Decision {
    Settled(Pass),
    /// The message waits; the rules after `rule` are asked afterwards.
    Held {
        rule: u64,
        by: Hold,
    },
}

/// What becomes of a message, once all rules have been asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    On,
    OnAndCut,
    Cut,
    Silence,
}

/// What a message waits for.
#[derive(Debug)]
pub(crate) enum Hold {
    Gate(Arc<Gated>),
    Point(Points, String),
    Time(Duration),
}

impl Hold {
    /// Takes its place in the queue, and waits. A gate or a sweep that is gone holds nobody.
    pub async fn over(self) -> Fate {
        let place = match self {
            Hold::Gate(gate) => gate.enter(),
            Hold::Point(points, label) => points.visit(label),
            Hold::Time(for_) => {
                tokio::time::sleep(for_).await;
                None
            }
        };
        match place {
            Some(fate) => fate.await.unwrap_or(Fate::Go),
            None => Fate::Go,
        }
    }
}

impl<P: Protocol> Remove for Rules<P> {
    fn remove(&self, id: u64) {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        *list = list.iter().filter(|entry| entry.id != id).cloned().collect();
    }
}

impl<P: Protocol> Rules<P> {
    pub fn install(self: &Arc<Rules<P>>, rule: Rule<P>) -> RuleGuard {
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
            rules: Arc::downgrade(&(self.clone() as Arc<dyn Remove + Send + Sync>)),
            id,
            gate,
        }
    }

    /// Asks the rules that came after `asked`.
    pub fn request(&self, request: &P::Request<'_>, asked: u64) -> Decision {
        self.decide(asked, |rule| match &rule.0 {
            Ask::Request(decide) => decide(request),
            Ask::Reply(_) => Verdict::Pass,
        })
    }

    /// Asks the rules that came after `asked`.
    pub fn reply(&self, reply: &P::Reply<'_>, asked: u64) -> Decision {
        self.decide(asked, |rule| match &rule.0 {
            Ask::Reply(decide) => decide(reply),
            Ask::Request(_) => Verdict::Pass,
        })
    }

    fn decide(&self, asked: u64, ask: impl Fn(&Rule<P>) -> Verdict) -> Decision {
        // A copy, so that a rule's closure runs without the lock.
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner).clone();
        for Entry { id, rule, gate } in list.iter().filter(|entry| entry.id > asked) {
            let held = |by| Decision::Held { rule: *id, by };
            let decision = match ask(rule) {
                Verdict::Pass => continue,
                Verdict::Hold => held(Hold::Gate(gate.clone())),
                Verdict::Point(points, label) => held(Hold::Point(points, label)),
                Verdict::Delay(for_) => held(Hold::Time(for_)),
                Verdict::Cut(When::Before) => Decision::Settled(Pass::Cut),
                Verdict::Cut(When::After) => Decision::Settled(Pass::OnAndCut),
                Verdict::Silence => Decision::Settled(Pass::Silence),
            };
            gate.match_one();
            return decision;
        }
        Decision::Settled(Pass::On)
    }
}
