use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::api::Event;
use crate::hub::Shared;

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
