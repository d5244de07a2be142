use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::hub::Shared;

/// What a session is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Message(Bytes),
    /// The reader fell behind: this many events are missing here.
    Lagged(u64),
    /// The device was not heard of for the idle time.
    Expired,
}

/// One connected device's side of the hub. Dropping it disconnects.
pub struct Session {
    shared: Arc<Shared>,
    unread: Receiver<Event>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, unread: Receiver<Event>) -> Session {
        shared.sessions.fetch_add(1, Ordering::Relaxed);
        Session { shared, unread }
    }

    /// The next event; `None` once the hub has shut down and everything before that was delivered.
    pub async fn next(&mut self) -> Option<Event> {
        match self.unread.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missing)) => Some(Event::Lagged(missing)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}
