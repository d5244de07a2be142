use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::broadcast::{Receiver, error::RecvError};

use tokio::time::{Instant, sleep, sleep_until};

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
    /// The deadline that the reader has been told of: no task is needed to watch over it.
    told: Option<Instant>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, device: DeviceId, id: usize, unread: Receiver<Event>) -> Session {
        shared.sessions.fetch_add(1, Ordering::Relaxed);
        Session {
            shared,
            device,
            id,
            unread,
            told: None,
        }
    }

    /// The next event; `None` once the hub has shut down and everything before that was delivered.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let due = self.shared.due(&self.device).filter(|due| self.told != Some(*due));
            let quiet = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => sleep(self.shared.cfg.sweep).await,
                }
            };
            tokio::select! {
                biased;
                () = quiet => {
                    // Another sign of life has moved it.
                    if due.is_some() && self.shared.due(&self.device) == due {
                        self.told = due;
                        return Some(Event::Expired);
                    }
                }
                event = self.unread.recv() => return match event {
                    Ok(event) => Some(event),
                    Err(RecvError::Lagged(missing)) => Some(Event::Lagged(missing)),
                    Err(RecvError::Closed) => None,
                },
            }
        }
    }
}

impl Drop for Session {
    /// Takes an entry out of a map, no more: this may run on any thread, with or without a runtime.
    fn drop(&mut self) {
        self.shared.leave(&self.device, self.id);
        self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}
