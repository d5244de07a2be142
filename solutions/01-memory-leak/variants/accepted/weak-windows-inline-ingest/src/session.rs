use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::api::Event;
use crate::device::DeviceId;
use crate::hub::{Shared, Window};

/// One connected device's side of the hub. Dropping it disconnects.
pub struct Session {
    shared: Arc<Shared>,
    device: DeviceId,
    window: Arc<Window>,
    unread: Receiver<Event>,
}

impl Session {
    pub(crate) fn new(
        shared: Arc<Shared>,
        device: DeviceId,
        window: Arc<Window>,
        unread: Receiver<Event>,
    ) -> Session {
        shared.sessions.fetch_add(1, Ordering::Relaxed);
        Session {
            shared,
            device,
            window,
            unread,
        }
    }

    /// The next event; `None` once the hub has shut down and everything before that was delivered.
    pub async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            biased;
            event = self.unread.recv() => match event {
                Ok(event) => Some(event),
                Err(RecvError::Lagged(missing)) => Some(Event::Lagged(missing)),
                Err(RecvError::Closed) => None,
            },
            () = self.shared.closing.cancelled() => None,
        }
    }
}

impl Drop for Session {
    /// Takes an entry out of a map, no more: this may run on any thread, with or without a runtime.
    fn drop(&mut self) {
        self.shared.leave(&self.device, &self.window);
        self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}
