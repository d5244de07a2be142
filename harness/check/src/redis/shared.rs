//! What the connections of one tap share.

use super::counts::{Command, Counts};
use super::rule::Resp;
use crate::tap::{Link, LinkState, Rules};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

#[derive(Debug)]
pub(super) struct Shared {
    pub rules: Arc<Rules<Resp>>,
    books: Mutex<Books>,
    pub changed: Notify,
    pub link: LinkState,
    /// Counts the calls to cut everything that is connected.
    pub cuts: watch::Sender<u64>,
}

/// Everything that is counted, under one lock.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub counts: Counts,
    pub log: Vec<Command>,
    /// Connections that this tap has made to the server.
    pub to_server: u64,
}

impl Shared {
    pub fn new() -> Shared {
        Shared {
            rules: Arc::default(),
            books: Mutex::default(),
            changed: Notify::new(),
            link: Arc::new(watch::Sender::new(Link::default())),
            cuts: watch::Sender::new(0),
        }
    }

    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the books and tells those who wait for them.
    pub fn note<T>(&self, change: impl FnOnce(&mut Books) -> T) -> T {
        let result = change(&mut self.books());
        self.changed.notify_waiters();
        result
    }
}
