use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::api::Event;
use crate::device::DeviceId;
use crate::hub::Shared;

/// One connected device's side of the hub. Dropping it disconnects.
pub struct Session {
    shared: Arc<Shared>,
    device: DeviceId,
    /// Which of the device's outlets is this session's, so that `drop` takes out that one.
    id: usize,
    /// The reading end. Its only sender lies in the registry, and no task stands between the two.
    unread: Receiver<Event>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, device: DeviceId, id: usize, unread: Receiver<Event>) -> Session {
        shared.sessions.fetch_add(1, Ordering::Relaxed);
        Session {
            shared,
            device,
            id,
            unread,
        }
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
        let (shared, device, id) = (self.shared.clone(), self.device.clone(), self.id);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { shared.leave(&device, id) });
        }
        self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}
