use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::api::Event;
use crate::device::DeviceId;

/// A session's unread events: the latest `room` of them. What is pushed out in front is counted.
pub(crate) struct Outbox {
    pub(crate) device: DeviceId,
    room: usize,
    unread: Mutex<Unread>,
    news: Notify,
}

#[derive(Default)]
struct Unread {
    events: VecDeque<Event>,
    missed: u64,
    closed: bool,
}

impl Outbox {
    pub(crate) fn new(device: DeviceId, room: usize) -> Outbox {
        Outbox {
            device,
            room: room.max(1),
            unread: Mutex::default(),
            news: Notify::new(),
        }
    }

    fn unread(&self) -> MutexGuard<'_, Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, event: Event) {
        let mut unread = self.unread();
        if unread.closed {
            return;
        }
        let mut oldest = None;
        let messages = unread.events.iter().filter(|event| **event != Event::Expired);
        if messages.count() >= self.room {
            let at = unread.events.iter().position(|event| *event != Event::Expired);
            oldest = at.and_then(|at| unread.events.remove(at));
            unread.missed += 1;
        }
        unread.events.push_back(event);
        drop(unread);
        drop(oldest);
        self.news.notify_one();
    }

    /// An expiry must not get lost in a burst of messages: it displaces nothing and counts for nothing.
    pub(crate) fn push_expired(&self) {
        let mut unread = self.unread();
        if !unread.closed {
            unread.events.push_back(Event::Expired);
        }
        drop(unread);
        self.news.notify_one();
    }

    pub(crate) fn close(&self) {
        self.unread().closed = true;
        self.news.notify_one();
    }

    pub(crate) fn len(&self) -> usize {
        self.unread().events.len()
    }

    /// The next event; `None` after the last one.
    pub(crate) async fn next(&self) -> Option<Event> {
        loop {
            {
                let mut unread = self.unread();
                if unread.missed > 0 {
                    return Some(Event::Lagged(std::mem::take(&mut unread.missed)));
                }
                if let Some(event) = unread.events.pop_front() {
                    return Some(event);
                }
                if unread.closed {
                    return None;
                }
            }
            // One that was sent since the look above is remembered.
            self.news.notified().await;
        }
    }
}
