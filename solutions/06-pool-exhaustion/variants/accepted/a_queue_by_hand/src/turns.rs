//! How many requests may be in the database, and how many may wait for that.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::config::DbConfig;
use crate::order::OrderError;

pub struct Turns {
    line: Arc<Mutex<Line>>,
    max_db: usize,
    queue: usize,
    queue_wait: Duration,
}

#[derive(Default)]
struct Line {
    inside: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// A request's turn. Dropped, also by a caller that left while it was on its way to it, it goes to the next in line.
pub struct Turn(Option<Arc<Mutex<Line>>>);

impl Turns {
    pub fn new(cfg: &DbConfig) -> Turns {
        Turns {
            line: Arc::default(),
            max_db: cfg.max_db,
            queue: cfg.queue,
            queue_wait: cfg.queue_wait,
        }
    }

    pub async fn next(&self) -> Result<Turn, OrderError> {
        let coming = {
            let mut line = locked(&self.line);
            if line.inside < self.max_db {
                line.inside += 1;
                return Ok(Turn(Some(self.line.clone())));
            }
            line.waiting.retain(|sender| !sender.is_closed());
            if line.waiting.len() >= self.queue {
                return Err(OrderError::Overloaded);
            }
            let (sender, coming) = oneshot::channel();
            line.waiting.push_back(sender);
            coming
        };
        match tokio::time::timeout(self.queue_wait, coming).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(OrderError::Overloaded),
        }
    }

    pub fn taken(&self) -> usize {
        locked(&self.line).inside
    }

    pub fn waiting(&self) -> usize {
        let mut line = locked(&self.line);
        line.waiting.retain(|sender| !sender.is_closed());
        line.waiting.len()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        let mut line = locked(&shared);
        while let Some(next) = line.waiting.pop_front() {
            match next.send(Turn(Some(shared.clone()))) {
                Ok(()) => return,
                // Not by dropping it: the line is locked.
                Err(mut turn) => drop(turn.0.take()),
            }
        }
        line.inside -= 1;
    }
}

fn locked(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}
