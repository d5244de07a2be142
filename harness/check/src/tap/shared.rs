//! What the connections of one tap share.

use super::{Link, LinkState, Protocol, Rules, audible};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

#[derive(Debug)]
pub struct Shared<P: Protocol> {
    pub(crate) rules: Arc<Rules<P>>,
    pub(crate) link: LinkState,
    /// Counts the calls to cut everything that is connected.
    pub(crate) cuts: watch::Sender<u64>,
    pub(crate) changed: Notify,
    /// What this protocol's taps are told when they start.
    pub(crate) setting: P::Setting,
    books: Mutex<P::Books>,
}

impl<P: Protocol> Shared<P> {
    pub(crate) fn new(setting: P::Setting) -> Shared<P> {
        Shared {
            rules: Arc::default(),
            link: Arc::new(watch::Sender::new(Link::default())),
            cuts: watch::Sender::new(0),
            changed: Notify::new(),
            setting,
            books: Mutex::default(),
        }
    }

    /// Whether a client that has just come is served. While the link is silent nothing reaches the server, the opening of a
    /// connection neither; whoever is refused or, by `cuts`, cut meanwhile is told so.
    pub(crate) async fn admits(&self, cuts: &mut watch::Receiver<u64>) -> bool {
        let mut link = self.link.subscribe();
        if link.borrow().refused > 0 {
            return false;
        }
        tokio::select! {
            () = audible(&mut link) => true,
            _ = cuts.changed() => false,
        }
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, P::Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the books and tells those who wait for them.
    pub(crate) fn note<T>(&self, change: impl FnOnce(&mut P::Books) -> T) -> T {
        let result = change(&mut self.books());
        self.changed.notify_waiters();
        result
    }
}
