use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::api::Event;
use crate::hub::Shared;

/// What waits to be read. The oldest stay; what finds no room is counted, and told of when there is nothing else.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    missing: u64,
    closed: bool,
}

impl Outbox {
    pub(crate) fn push(&self, event: &Event, max: usize) {
        let mut queue = self.queue.lock().unwrap();
        if queue.missing > 0 || queue.events.len() >= max {
            queue.missing += 1;
        } else {
            queue.events.push_back(event.clone());
        }
        drop(queue);
        self.changed.notify_one();
    }

    pub(crate) fn close(&self) {
        self.queue.lock().unwrap().closed = true;
        self.changed.notify_one();
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.lock().unwrap().events.len()
    }

    /// `Err` when there is nothing yet.
    fn pop(&self) -> Result<Option<Event>, ()> {
        let mut queue = self.queue.lock().unwrap();
        if let Some(event) = queue.events.pop_front() {
            return Ok(Some(event));
        }
        match std::mem::take(&mut queue.missing) {
            0 if queue.closed => Ok(None),
            0 => Err(()),
            missing => Ok(Some(Event::Lagged(missing))),
        }
    }
}

/// One connected device's side of the hub. Dropping it disconnects.
pub struct Session {
    shared: Arc<Shared>,
    slot: usize,
    outbox: Arc<Outbox>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, slot: usize, outbox: Arc<Outbox>) -> Session {
        shared.sessions.fetch_add(1, Ordering::Relaxed);
        Session { shared, slot, outbox }
    }

    /// The next event; `None` once the hub has shut down and everything before that was delivered.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Ok(event) = self.outbox.pop() {
                return event;
            }
            self.outbox.changed.notified().await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.registry.lock().unwrap().free(self.slot);
        self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}
