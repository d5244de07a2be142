//! Names for runs: the replica, its process, and a number.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

pub(crate) struct Tokens {
    replica: String,
    process: String,
    /// Those of the runs that are under way, and how many there were.
    live: Mutex<(HashSet<String>, u64)>,
}

/// Who a token belongs to.
pub(crate) enum Whose {
    /// A replica, and be it this one with a run that is under way.
    Known(String),
    /// A run of this process, whose answer was lost: it may have the day, and does not know.
    LeftOver,
}

impl Tokens {
    pub(crate) fn new(replica: &str) -> Tokens {
        let chance = RandomState::new().hash_one((process::id(), SystemTime::now()));
        Tokens {
            replica: replica.to_owned(),
            process: format!("{chance:016x}"),
            live: Mutex::default(),
        }
    }

    pub(crate) fn next(&self) -> Token<'_> {
        let mut live = self.lock();
        live.1 += 1;
        let text = format!("{}|{}|{}", self.replica, self.process, live.1);
        live.0.insert(text.clone());
        Token { tokens: self, text }
    }

    pub(crate) fn whose(&self, token: &str) -> Whose {
        let mut parts = token.rsplitn(3, '|');
        let (_, process, replica) = (parts.next(), parts.next(), parts.next());
        if process == Some(self.process.as_str()) && !self.lock().0.contains(token) {
            return Whose::LeftOver;
        }
        // The version before this one wrote its name alone.
        Whose::Known(replica.unwrap_or(token).to_owned())
    }

    fn lock(&self) -> MutexGuard<'_, (HashSet<String>, u64)> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Token<'a> {
    tokens: &'a Tokens,
    pub(crate) text: String,
}

impl Drop for Token<'_> {
    fn drop(&mut self) {
        self.tokens.lock().0.remove(&self.text);
    }
}
