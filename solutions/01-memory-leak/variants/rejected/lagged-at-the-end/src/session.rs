use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::api::Event;

/// One connected device's side of the hub. Dropping it disconnects: the hub only has weak references to its line.
pub struct Session {
    line: Arc<Line>,
}

/// The latest events that a session has not read.
pub(crate) struct Line {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    unread: VecDeque<Event>,
    missing: u64,
    ended: bool,
    reader: Option<Waker>,
}

impl Session {
    pub(crate) fn new(line: Arc<Line>) -> Session {
        Session { line }
    }

    /// The next event; `None` once the hub has shut down and everything before that was delivered.
    pub async fn next(&mut self) -> Option<Event> {
        let _leaving = Leaving(&self.line);
        poll_fn(|context| {
            let mut state = self.line.state();
            if let Some(event) = state.unread.pop_front() {
                return Poll::Ready(Some(event));
            }
            if state.missing > 0 {
                return Poll::Ready(Some(Event::Lagged(std::mem::take(&mut state.missing))));
            }
            if state.ended {
                return Poll::Ready(None);
            }
            let reader = state.reader.replace(context.waker().clone());
            drop(state);
            drop(reader);
            Poll::Pending
        })
        .await
    }
}

/// Takes the waker out again: it would keep the reader's task allocated.
struct Leaving<'a>(&'a Line);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let reader = self.0.state().reader.take();
        drop(reader);
    }
}

impl Line {
    pub(crate) fn new(most: usize) -> Arc<Line> {
        Arc::new(Line {
            most: most.max(1),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, event: Event) {
        let mut state = self.state();
        if state.ended {
            return;
        }
        state.unread.push_back(event);
        let mut lost = None;
        if state.unread.len() > self.most {
            lost = state.unread.pop_front();
            state.missing += 1;
        }
        let reader = state.reader.take();
        drop(state);
        drop(lost);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(crate) fn unread(&self) -> usize {
        self.state().unread.len()
    }
}
