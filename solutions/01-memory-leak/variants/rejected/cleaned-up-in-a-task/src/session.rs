use std::sync::Arc;

use tokio::runtime::Handle;

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
        // Nothing reaches it from here on. The lists are put in order off this thread, which may be somebody's hot path.
        self.outbox.close();
        if let Ok(runtime) = Handle::try_current() {
            let (shared, outbox) = (self.shared.clone(), self.outbox.clone());
            runtime.spawn(async move { shared.disconnect(&outbox) });
        }
    }
}
