//! Requests that are answered with an error of the server's, without reaching it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::operation::Request;

/// What a client is told instead of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// `ProvisionedThroughputExceededException`, as if the partition had nothing left. A batch is refused whole.
    Throttled,
    /// A batch without some of its items, which the answer names as unprocessed: which, in the order of
    /// [`Request::accesses`]. [Throttled](Refusal::Throttled) where that leaves nothing, or it is no batch.
    LeftOut(Vec<bool>),
    /// `InternalServerError`, with status 500.
    Unavailable,
    /// An answer of the grader's own, with status 200.
    Answer(Value),
}

impl Refusal {
    pub(super) fn status(&self) -> u16 {
        match self {
            Refusal::Throttled | Refusal::LeftOut(_) => 400,
            Refusal::Unavailable => 500,
            Refusal::Answer(_) => 200,
        }
    }

    /// The error's code; none for an answer.
    pub(super) fn code(&self) -> Option<&'static str> {
        match self {
            Refusal::Throttled | Refusal::LeftOut(_) => Some("ProvisionedThroughputExceededException"),
            Refusal::Unavailable => Some("InternalServerError"),
            Refusal::Answer(_) => None,
        }
    }

    pub(super) fn body(&self) -> Value {
        let message = match self {
            Refusal::Throttled | Refusal::LeftOut(_) => {
                "The level of configured provisioned throughput for the table was exceeded. Consider increasing your \
                 provisioning level with the UpdateTable API."
            }
            Refusal::Unavailable => "The request could not be processed. Please try again.",
            Refusal::Answer(body) => return body.clone(),
        };
        let code = self.code().unwrap_or_default();
        json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": message })
    }
}

type Decide = dyn Fn(&Request) -> Option<Refusal> + Send + Sync;

#[derive(Clone)]
struct Entry {
    id: u64,
    decide: Arc<Decide>,
    matched: Arc<AtomicU64>,
}

/// What is refused at a tap, in order of installation.
#[derive(Default)]
pub(super) struct Refusals {
    list: Mutex<Vec<Entry>>,
    last: AtomicU64,
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refusals({})", self.lock().len())
    }
}

/// Keeps requests refused for as long as it lives.
#[must_use = "dropping it ends the fault"]
#[derive(Debug)]
pub struct RefusalGuard {
    of: Arc<Refusals>,
    id: u64,
    matched: Arc<AtomicU64>,
}

impl RefusalGuard {
    /// How many requests it has refused so far.
    pub fn matched(&self) -> u64 {
        self.matched.load(Ordering::SeqCst)
    }
}

impl Drop for RefusalGuard {
    fn drop(&mut self) {
        self.of.lock().retain(|entry| entry.id != self.id);
    }
}

impl Refusals {
    pub fn install(
        self: &Arc<Refusals>,
        decide: impl Fn(&Request) -> Option<Refusal> + Send + Sync + 'static,
    ) -> RefusalGuard {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let matched = Arc::<AtomicU64>::default();
        self.lock().push(Entry {
            id,
            decide: Arc::new(decide),
            matched: matched.clone(),
        });
        RefusalGuard {
            of: self.clone(),
            id,
            matched,
        }
    }

    /// The first that refuses it decides.
    pub fn of(&self, request: &Request) -> Option<Refusal> {
        // A copy, so that the closures run without the lock.
        let list = self.lock().clone();
        list.iter().find_map(|entry| {
            let refusal = (entry.decide)(request)?;
            entry.matched.fetch_add(1, Ordering::SeqCst);
            Some(refusal)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
