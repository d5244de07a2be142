use std::sync::Arc;

use crate::api::Event;
use crate::hub::Shared;
use crate::outbox::Outbox;

/// One connected device's side of the hub. Dropping it disconnects.
pub struct Session {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, outbox: Arc<Outbox>) -> Session {
        Session { shared, outbox }
    }

    /// The next event; `None` once the hub has shut down and everything before that was delivered.
    pub async fn next(&mut self) -> Option<Event> {
        self.outbox.next().await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.disconnect(&self.outbox);
    }
}
