//! Where calls queue, and what is known of the database's health.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use crate::model::{BankError, Statement, TxId};

pub type Reply<T> = oneshot::Sender<Result<T, BankError>>;

pub enum Job {
    Transfer {
        from: u32,
        to: u32,
        cents: i64,
        reply: Reply<TxId>,
    },
    Balance {
        id: u32,
        reply: Reply<i64>,
    },
    Statement {
        id: u32,
        reply: Reply<Statement>,
        room: OwnedSemaphorePermit,
    },
    Close {
        id: u32,
        reply: Reply<()>,
        permit: OwnedSemaphorePermit,
    },
    /// Nobody in particular wants to know.
    Ping,
}

impl Job {
    /// Whether the caller has gone.
    fn is_void(&self) -> bool {
        match self {
            Job::Transfer { reply, .. } => reply.is_closed(),
            Job::Balance { reply, .. } => reply.is_closed(),
            Job::Statement { reply, .. } => reply.is_closed(),
            Job::Close { reply, .. } => reply.is_closed(),
            Job::Ping => false,
        }
    }
}

/// A queue, without a bound of its own: what is bounded brings a permit along.
pub struct Counter {
    jobs: Mutex<VecDeque<Job>>,
    waiting: Semaphore,
}

impl Counter {
    pub fn new() -> Counter {
        Counter {
            jobs: Mutex::default(),
            waiting: Semaphore::new(0),
        }
    }

    pub fn push(&self, job: Job) {
        self.jobs().push_back(job);
        self.waiting.add_permits(1);
    }

    pub fn push_first(&self, job: Job) {
        self.jobs().push_front(job);
        self.waiting.add_permits(1);
    }

    /// The next job, if the counter is open.
    pub async fn next(&self) -> Option<Job> {
        loop {
            self.waiting.acquire().await.ok()?.forget();
            let job = self.jobs().pop_front();
            if job.as_ref().is_some_and(|job| !job.is_void()) {
                return job;
            }
        }
    }

    pub fn close(&self) {
        self.waiting.close();
        let left = std::mem::take(&mut *self.jobs());
        drop(left);
    }

    fn jobs(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the database was last heard, and when it last failed to answer a ping.
#[derive(Default)]
pub struct Signs {
    last: Mutex<Last>,
    pub changed: Notify,
}

#[derive(Clone, Copy, Default)]
pub struct Last {
    pub answer: Option<Instant>,
    pub failure: Option<Instant>,
    /// A ping is on its way.
    pub asked: bool,
}

impl Signs {
    pub fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn answered(&self) {
        self.last().answer = Some(Instant::now());
        self.changed.notify_waiters();
    }

    pub fn pinged(&self, is_well: bool) {
        let now = Some(Instant::now());
        let mut last = self.last();
        last.asked = false;
        match is_well {
            true => last.answer = now,
            false => last.failure = now,
        }
        drop(last);
        self.changed.notify_waiters();
    }
}
