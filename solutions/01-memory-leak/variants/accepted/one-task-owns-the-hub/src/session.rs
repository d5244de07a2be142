use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc::{Receiver, UnboundedSender};

use crate::api::Event;
use crate::hub::{Gauges, Order};

/// One connected device's side of the hub. Dropping it disconnects.
pub struct Session {
    pub(crate) id: u64,
    pub(crate) unread: Receiver<Event>,
    pub(crate) orders: UnboundedSender<Order>,
    pub(crate) gauges: Arc<Gauges>,
}

impl Session {
    /// The next event; `None` once the hub has shut down and everything before that was delivered.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.unread.recv().await?;
        self.gauges.queued.fetch_sub(1, Ordering::Relaxed);
        Some(event)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.gauges.sessions.fetch_sub(1, Ordering::Relaxed);
        self.gauges.queued.fetch_sub(self.unread.len(), Ordering::Relaxed);
        self.orders.send(Order::Leave(self.id)).ok();
    }
}
